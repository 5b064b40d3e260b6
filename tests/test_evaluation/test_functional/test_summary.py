# Copyright (c) CellVTA-MMSeg contributors.
import json
import math
from pathlib import Path

import numpy as np
import pytest

from mmseg_cellvta.evaluation.functional import (
    check_figure_names,
    format_table,
    instance_classes,
    score_image,
    summarize,
    summarize_tissues,
    write_metrics,
)

GOLDEN = np.load(Path(__file__).resolve().parents[2] / 'data' / 'metrics_8img.npz')
NAMES = [f'class_{index}' for index in range(1, 7)]
FULL = np.kron([[1, 0], [0, 2]], np.ones((8, 8), int))
EMPTY = np.zeros((16, 16), int)


def golden_scores():
    scores = []
    for image in range(8):
        maps = [GOLDEN[key][image] for key in (
            'gt_inst', 'pred_inst', 'gt_type', 'pred_type')]
        scores.append(score_image(
            maps[0], maps[1], instance_classes(maps[0], maps[2])[0],
            instance_classes(maps[1], maps[3])[0], num_classes=7,
            radius_px=float(GOLDEN['radius']),
            tissue=f'tissue {GOLDEN["tissue"][image]}'))
    return scores


def close(expected):
    return pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_every_image_scores_as_in_the_released_code():
    for index, score in enumerate(golden_scores()):
        binary, classes = score.binary, score.per_class
        if binary.tp + binary.fn:
            expected = close(GOLDEN['image_binary'][index])
            assert [binary.dq, binary.sq, binary.pq] == expected
        else:
            assert np.isnan(GOLDEN['image_binary'][index]).all()
        present = classes.tp + classes.fn > 0
        golden = GOLDEN['image_class'][index]
        assert (np.isnan(golden[:, 0]) == ~present).all()
        found = np.stack([classes.dq, classes.sq, classes.pq], axis=1)
        assert found[present] == close(golden[present])


def test_data_set_figures_are_those_of_the_released_code():
    metrics = summarize(golden_scores(), NAMES)
    f1_prec_rec = [metrics[f'{name}_det'] for name in ('F1', 'precision', 'recall')]
    assert f1_prec_rec == close(GOLDEN['detection_f1_prec_rec'])
    assert metrics['PQ_conic'] == close(float(GOLDEN['conic_binary_pq']))
    assert metrics['mPQ_plus'] == close(float(GOLDEN['mPQ_plus']))
    for name in ('bPQ', 'mPQ'):
        assert metrics[name] == close(float(GOLDEN[f'{name}_image']))
        assert metrics[f'{name}_tissue'] == close(float(GOLDEN[f'{name}_tissue']))
    image_mean = np.nanmean(GOLDEN['image_binary'], axis=0)
    assert [metrics[name] for name in ('bDQ', 'bSQ', 'bPQ')] == close(image_mean)
    has_class = ~np.isnan(GOLDEN['image_class']).all(axis=(1, 2))
    class_mean = np.nanmean(GOLDEN['image_class'][has_class], axis=1).mean(axis=0)
    assert [metrics[name] for name in ('mDQ', 'mSQ', 'mPQ')] == close(class_mean)


def test_class_figures_are_those_of_the_released_code():
    scores = golden_scores()
    metrics = summarize(scores, NAMES)
    class_pq = [metrics[f'PQ_{name}'] for name in NAMES]
    assert class_pq == close(GOLDEN['class_pq_image'])
    class_f1 = [metrics[f'F1_{name}'] for name in NAMES]
    assert class_f1 == close(GOLDEN['class_f1_prec_rec'][:, 0])
    for index in range(6):
        pooled = {
            field: sum(getattr(score.per_class, field)[index] for score in scores)
            for field in ('tp', 'fp', 'fn', 'iou_sum')}
        assert list(pooled.values()) == close(GOLDEN['conic_counts'][index])


def test_class_precision_and_recall_are_those_of_the_released_code():
    scores = [score.class_detection for score in golden_scores()]
    pooled = type(scores[0])(*(
        sum(getattr(score, name) for score in scores)
        for name in ('tp', 'fp', 'fn', 'confused_fp', 'confused_fn')))
    assert pooled.precision == close(GOLDEN['class_f1_prec_rec'][:, 1])
    assert pooled.recall == close(GOLDEN['class_f1_prec_rec'][:, 2])


def test_dice_is_the_image_mean_over_images_with_nuclei():
    dice = []
    for true, pred in zip(GOLDEN['gt_inst'] > 0, GOLDEN['pred_inst'] > 0, strict=True):
        if true.any():
            dice.append(2 * (true & pred).sum() / (true.sum() + pred.sum()))
    assert len(dice) == 7
    assert summarize(golden_scores(), NAMES)['Dice'] == close(np.mean(dice))


def test_a_perfect_result_scores_one_even_with_empty_images_and_absent_classes():
    scores = [score_image(FULL, FULL, [1, 3], [1, 3], 4, 3, 'skin'),
              score_image(EMPTY, EMPTY, [], [], 4, 3, 'skin')]
    metrics = summarize(scores, ['a', 'b', 'c'])
    assert math.isnan(metrics.pop('PQ_b')) and math.isnan(metrics.pop('F1_b'))
    assert metrics.pop('PQ_conic') == pytest.approx(0.5, abs=1e-5)
    assert list(metrics.values()) == pytest.approx([1] * len(metrics), abs=1e-5)


def test_false_alarms_in_empty_images_reach_the_pooled_figures_only():
    good = score_image(FULL, FULL, [1, 1], [1, 1], 2, 3)
    alarm = score_image(EMPTY, FULL, [], [1, 1], 2, 3)
    metrics = summarize([good, alarm], ['nucleus'])
    assert metrics['bPQ'] == metrics['mPQ'] == pytest.approx(1, abs=1e-5)
    assert metrics['mPQ_plus'] == pytest.approx(2 / (2 + 0.5 * 2), abs=1e-5)
    assert metrics['F1_det'] == 4 / (4 + 2)


@pytest.mark.parametrize(('names', 'message'), [
    (['det', 'a'], "class 'det': F1_det and PQ_det could not be told"),
    (['a', 'conic'], "class 'conic': F1_conic and PQ_conic"),
    (['a', 'a'], "class 'a' is there twice, but F1_a and PQ_a are of one class")])
def test_figures_do_not_replace_each_other(names, message):
    scores = [score_image(FULL, FULL, [1, 2], [1, 2], 3, 3)]
    for check in (check_figure_names, lambda names: summarize(scores, names)):
        with pytest.raises(ValueError, match=message):
            check(names)


def test_names_that_only_resemble_other_figures_are_fine():
    names = ['plus', 'tissue', 'Det', 'AJI', 'mPQ']
    metrics = summarize([score_image(FULL, FULL, [1, 2], [1, 2], 6, 3, 'skin')], names)
    assert len(metrics) == 7 + 2 + 3 + 3 + 2 * len(names)
    assert metrics['mPQ_plus'] == pytest.approx(1, abs=1e-5)
    assert math.isnan(metrics['PQ_AJI']) and metrics['AJI'] == 1


def test_an_empty_name_is_no_tissue():
    scores = [score_image(FULL, pred, [1, 1], [1, 1][:len(np.unique(pred)) - 1], 2, 3,
                          tissue)
              for pred, tissue in ((FULL, 'skin'), (EMPTY, ''), (EMPTY, None))]
    assert summarize(scores, ['a'])['bPQ_tissue'] == pytest.approx(1, abs=1e-5)


def test_without_nuclei_the_figures_are_nan_and_no_warning_appears(recwarn):
    metrics = summarize([score_image(EMPTY, EMPTY, [], [], 2, 3)], ['nucleus'])
    assert metrics.pop('PQ_conic') == 0
    assert all(math.isnan(value) for value in metrics.values())
    assert not recwarn.list


def test_tissue_figures_weigh_tissues_alike_and_need_a_tissue():
    good = [score_image(FULL, FULL, [1, 1], [1, 1], 2, 3, 'liver')] * 3
    bad = score_image(FULL, EMPTY, [1, 1], [], 2, 3, 'skin')
    metrics = summarize([*good, bad], ['nucleus'])
    assert metrics['bPQ'] == pytest.approx(0.75, abs=1e-5)
    assert metrics['bPQ_tissue'] == pytest.approx(0.5, abs=1e-5)
    assert metrics['mPQ_tissue'] == metrics['bPQ_tissue']
    unknown = score_image(FULL, FULL, [1, 1], [1, 1], 2, 3)
    assert 'bPQ_tissue' not in summarize([unknown], ['nucleus'])
    assert summarize([bad, unknown], ['nucleus'])['bPQ_tissue'] == 0


def test_each_tissue_has_figures_of_its_own_whose_mean_is_that_over_tissues():
    scores = golden_scores()
    figures, metrics = summarize_tissues(scores), summarize(scores, NAMES)
    tissues = sorted({score.tissue for score in scores})
    for name in ('mPQ', 'bPQ'):
        by_tissue = [figures.pop(f'{name}_tissue_{tissue}') for tissue in tissues]
        assert np.nanmean(by_tissue) == close(metrics[f'{name}_tissue'])
        first = [score for score in scores if score.tissue == tissues[0]]
        assert by_tissue[0] == close(summarize(first, NAMES)[name])
    assert not figures
    assert not any('_tissue_' in name for name in metrics)


def test_one_tissue_is_not_repeated():
    score = score_image(FULL, FULL, [1, 1], [1, 1], 2, 3, 'skin')
    unknown = score_image(FULL, FULL, [1, 1], [1, 1], 2, 3)
    assert summarize_tissues([score, score, unknown]) == {}
    assert summarize_tissues([unknown]) == {}


def test_a_tissue_without_nuclei_is_nan():
    full = score_image(FULL, FULL, [1, 1], [1, 1], 2, 3, 'liver')
    empty = score_image(EMPTY, EMPTY, [], [], 2, 3, 'skin')
    figures = summarize_tissues([full, empty])
    assert list(figures) == ['mPQ_tissue_liver', 'mPQ_tissue_skin', 'bPQ_tissue_liver',
                             'bPQ_tissue_skin']
    assert math.isnan(figures['bPQ_tissue_skin'])


def test_figures_are_python_floats():
    assert {type(value) for value in summarize(golden_scores(), NAMES).values()} == {
        float}


def test_no_images_are_refused():
    with pytest.raises(ValueError, match='the data set is empty'):
        summarize([], NAMES)


def test_the_table_has_a_line_per_class():
    table = format_table(dict(bPQ=0.5, F1_det=0.25, PQ_a=1.0, F1_a=math.nan), ['a'])
    assert table.splitlines() == [
        'class           PQ      F1',
        'all nuclei  0.5000  0.2500',
        'a           1.0000     nan']


def test_metrics_are_written_as_json_with_null_for_nan(tmp_path):
    write_metrics(tmp_path / 'metrics.json', dict(mPQ=0.5, PQ_a=math.nan))
    assert json.loads((tmp_path / 'metrics.json').read_text()) == {
        'cell/mPQ': 0.5, 'cell/PQ_a': None}


