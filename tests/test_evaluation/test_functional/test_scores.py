# Copyright (c) CellVTA-MMSeg contributors.
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmseg_cellvta.evaluation.functional import (
    DetectionScore,
    Overlaps,
    aggregated_jaccard,
    binary_dice,
    class_f1,
    class_panoptic_quality,
    match_centroids,
    panoptic_quality,
    score_detection,
    score_image,
)

DATA = Path(__file__).resolve().parents[4] / 'shared' / 'data'
# True 1 (4 px) meets 2 of 4 px of pred 1 and 1 of 1 px of pred 2; pred 3 is alone, and
# true 2 (2 px) meets 2 of 4 px of pred 1.
TRUE_ROW = np.array([[1, 1, 1, 1, 2, 2, 0, 0, 0]])
PRED_ROW = np.array([[0, 2, 1, 1, 1, 1, 0, 3, 3]])
TRUE = np.zeros((40, 60), np.int32)
TRUE[5:15, 5:15], TRUE[5:15, 25:35], TRUE[25:35, 5:15] = 3, 8, 1
PRED = np.zeros((40, 60), np.int32)
PRED[5:15, 6:16], PRED[5:15, 25:35], PRED[25:35, 40:50] = 1, 2, 3


def disc_map(*discs: tuple[int, int, int]) -> np.ndarray:
    """(96, 96) map with the discs (x, y, radius) as instances 1, 2, ..."""
    rows, cols = np.mgrid[:96, :96]
    inst_map = np.zeros((96, 96), np.int32)
    for number, (x, y, radius) in enumerate(discs, 1):
        inst_map[(cols - x)**2 + (rows - y)**2 <= radius**2] = number
    return inst_map


def disc_iou(shift: int, radius: int) -> float:
    """IoU of a pixel disc with itself shifted, counted from its row widths."""
    heights = np.arange(-radius, radius + 1)
    widths = 2 * np.floor(np.sqrt(radius**2 - heights**2)) + 1
    shared = np.maximum(widths - shift, 0).sum()
    return shared / (2 * widths.sum() - shared)


def test_shifted_discs_give_known_counts_and_iou():
    true = disc_map((20, 20, 10), (60, 20, 10), (20, 60, 10))
    pred = disc_map((22, 20, 10), (60, 70, 10), (20, 60, 10))
    score = panoptic_quality(true, pred)
    assert (score.tp, score.fp, score.fn) == (2, 1, 1)
    assert score.iou_sum == pytest.approx(1 + disc_iou(2, 10))
    assert score.dq == pytest.approx(2 / 3, abs=1e-6)
    assert score.sq == pytest.approx((1 + disc_iou(2, 10)) / 2, abs=1e-6)
    assert score.pq == score.dq * score.sq


def test_iou_of_exactly_one_half_is_no_match():
    score = panoptic_quality(np.array([[1, 1, 0]]), np.array([[1, 0, 0]]))
    assert (score.tp, score.fp, score.fn) == (0, 1, 1)


def test_ids_need_not_be_contiguous():
    true, pred = disc_map((20, 20, 10), (60, 20, 10)), disc_map((21, 20, 10))
    renamed = np.array([0, 70000, 3])[true]
    assert panoptic_quality(renamed, pred * 999) == panoptic_quality(true, pred)


def test_equal_maps_score_one_but_for_the_epsilon():
    true = disc_map((20, 20, 10))
    assert panoptic_quality(true, true).pq == pytest.approx(1 / (1 + 1e-6)**2)


@pytest.mark.parametrize('discs_true, discs_pred, counts', [
    ([], [], (0, 0, 0)),
    ([], [(20, 20, 10)], (0, 1, 0)),
    ([(20, 20, 10)], [], (0, 0, 1)),
])
def test_empty_maps_score_zero(discs_true, discs_pred, counts):
    score = panoptic_quality(disc_map(*discs_true), disc_map(*discs_pred))
    assert (score.tp, score.fp, score.fn) == counts
    assert score.dq == score.sq == score.pq == 0


def test_higher_match_iou_drops_pairs():
    true, pred = disc_map((20, 20, 10)), disc_map((22, 20, 10))
    assert 0.75 < disc_iou(2, 10) < 0.8
    assert panoptic_quality(true, pred, match_iou=0.75).tp == 1
    assert panoptic_quality(true, pred, match_iou=0.8).tp == 0


@pytest.mark.parametrize('match_iou', [-0.1, 0.49, 1.0, 50])
def test_match_iou_outside_its_range_is_refused(match_iou):
    with pytest.raises(ValueError, match=r'expected a fraction in \[0\.5, 1\)'):
        panoptic_quality(np.zeros((2, 2), int), np.zeros((2, 2), int), match_iou)


def test_class_scores_equal_those_of_maps_of_one_class():
    rng = np.random.default_rng(0)
    discs = [(x, y, 7) for x in range(10, 90, 18) for y in range(10, 90, 18)]
    true = disc_map(*discs)
    pred = disc_map(*[(x + rng.integers(0, 4), y, r) for x, y, r in discs[3:]])
    true_classes = rng.integers(1, 4, len(discs))
    pred_classes = np.where(rng.random(len(discs) - 3) < 0.7, true_classes[3:], 1)
    result = class_panoptic_quality(
        Overlaps.from_maps(true, pred), true_classes, pred_classes, num_classes=5)
    for index in range(4):
        alone = panoptic_quality(
            true * np.isin(true, np.flatnonzero(true_classes == index + 1) + 1),
            pred * np.isin(pred, np.flatnonzero(pred_classes == index + 1) + 1))
        assert (result.tp[index], result.fp[index], result.fn[index]) == (
            alone.tp, alone.fp, alone.fn)
        assert result.iou_sum[index] == pytest.approx(alone.iou_sum)
    assert result.tp[:3].min() > 0 and result.fp[0] > 0 and result.pq[3] == 0


def test_pairs_up_to_the_radius_count():
    true = np.array([[0.0, 0], [50, 50], [90, 0]])
    pred = np.array([[90.0, 7], [3, 4], [50, 50]])
    true_index, pred_index = match_centroids(true, pred, radius_px=5)
    assert true_index.tolist() == [0, 1]
    assert pred_index.tolist() == [1, 2]


def test_assignment_is_over_all_nuclei_before_the_radius_applies():
    # (9, 3) and (10, 0) are within the radius. Pairing them leaves (0, 0) to (30, 0):
    # 33.2 px in sum, while (0, 0)-(10, 0) and (9, 3)-(30, 0) make 31.2 px.
    true = np.array([[0.0, 0], [9, 3]])
    pred = np.array([[10.0, 0], [30, 0]])
    assert len(match_centroids(true, pred, radius_px=6)[0]) == 0
    assert len(match_centroids(true[1:], pred, radius_px=6)[0]) == 1


@pytest.mark.parametrize('num_true, num_pred', [(0, 0), (0, 2), (2, 0)])
def test_no_nuclei_give_no_pairs(num_true, num_pred):
    pairs = match_centroids(np.ones((num_true, 2)), np.ones((num_pred, 2)), 6)
    assert [len(index) for index in pairs] == [0, 0]


def test_counts_by_class():
    true_classes = np.array([1, 1, 2, 2, 3])
    pred_classes = np.array([1, 2, 2, 1])
    matches = np.array([0, 1, 2]), np.array([0, 1, 2])
    overall, by_class = score_detection(matches, true_classes, pred_classes, 5)
    assert overall == DetectionScore(tp=3, fp=1, fn=2)
    assert by_class.tp.tolist() == [1, 1, 0, 0]
    assert by_class.confused_fp.tolist() == [0, 1, 0, 0]
    assert by_class.confused_fn.tolist() == [1, 0, 0, 0]
    assert by_class.fp.tolist() == [1, 0, 0, 0]
    assert by_class.fn.tolist() == [0, 1, 1, 0]


def test_a_wrong_class_weighs_twice_a_wrong_detection():
    score = DetectionScore(tp=4, fp=3, fn=2, confused_fp=1, confused_fn=5)
    assert score.precision == 4 / (4 + 2 * 1 + 3)
    assert score.recall == 4 / (4 + 2 * 5 + 2)
    assert score.f1 == 8 / (8 + 2 * 1 + 2 * 5 + 3 + 2)


def test_scores_are_undefined_where_nothing_was_counted():
    assert np.isnan(DetectionScore(tp=0, fp=0, fn=0).f1)
    only_missed = DetectionScore(tp=0, fp=0, fn=3)
    assert only_missed.f1 == only_missed.recall == 0
    assert np.isnan(only_missed.precision)


def test_f1_of_each_class_is_nan_for_one_that_never_occurs():
    true = np.array([1, 1, 1, 2, 2, 3])
    pred = np.array([1, 1, 2, 2, 2, 2])
    np.testing.assert_allclose(class_f1(true, pred, 5), [4 / 5, 4 / 6, 0, np.nan])


def test_dice_and_aji_of_a_literal_row():
    overlaps = Overlaps.from_maps(TRUE_ROW, PRED_ROW)
    assert binary_dice(overlaps) == pytest.approx(2 * 5 / (6 + 7))
    # Both trues take pred 1: unions 6 and 4; preds 2 and 3 are left (1 + 2 px).
    assert aggregated_jaccard(overlaps) == pytest.approx((2 + 2) / (6 + 4 + 1 + 2))


@pytest.mark.parametrize('score', [binary_dice, aggregated_jaccard])
@pytest.mark.parametrize('true, pred, expected', [
    (TRUE_ROW, TRUE_ROW, 1), (TRUE_ROW, 0 * TRUE_ROW, 0),
    (0 * TRUE_ROW, PRED_ROW, np.nan), (0 * TRUE_ROW, 0 * PRED_ROW, np.nan),
])
def test_dice_and_aji_of_equal_missed_and_absent_nuclei(score, true, pred, expected):
    np.testing.assert_equal(score(Overlaps.from_maps(true, pred)), expected)


def read_ids(name: str) -> np.ndarray:
    folder = DATA / 'ref_hovernet_metrics'
    if not folder.is_dir():
        pytest.skip(f'{folder} is not there')
    return cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)


@pytest.mark.parametrize('true, pred, aji, pq', [
    ('true.png', 'pred_1.png', 0.4790, 0.6803),
    ('true.png', 'pred_2.png', 0.6414, 0.6863),
    ('aji_true.png', 'aji_pred.png', 0.5102, 0.6287),
    ('dice_true.png', 'dice_pred_1.png', 0.8866, 0.8809),
    ('dice_true.png', 'dice_pred_2.png', 0.6718, 0.5185),
])
def test_scores_of_hovernets_samples_are_as_published(true, pred, aji, pq):
    true, pred = read_ids(true), read_ids(pred)
    overlaps = Overlaps.from_maps(true, pred)
    assert aggregated_jaccard(overlaps) == pytest.approx(aji, abs=5e-5)
    assert panoptic_quality(true, pred).pq == pytest.approx(pq, abs=5e-5)


def test_scores_of_cellseg_models_toy_maps_are_as_published():
    path = DATA / 'ref_toy_arrays' / 'cellseg_models_instance_metrics.npz'
    if not path.is_file():
        pytest.skip(f'{path} is not there')
    maps = np.load(path)
    overlaps = Overlaps.from_maps(maps['true'], maps['pred'])
    score = panoptic_quality(maps['true'], maps['pred'])
    assert (score.tp, score.fp, score.fn) == (3, 2, 1)
    assert score.pq == pytest.approx(0.5128, abs=5e-5)
    assert aggregated_jaccard(overlaps) == pytest.approx(0.5310, abs=5e-5)


def test_one_image_gives_all_counts():
    # Ascending ids of TRUE: 1 (bottom left), 3 (top left), 8 (top middle).
    score = score_image(TRUE, PRED, [1, 1, 2], [1, 1, 2], num_classes=3, radius_px=6)
    assert (score.binary.tp, score.binary.fp, score.binary.fn) == (2, 1, 1)
    assert score.binary.iou_sum == pytest.approx(90 / 110 + 1)
    assert score.per_class.tp.tolist() == [1, 0]
    assert score.per_class.fp.tolist() == [1, 1]
    assert score.per_class.fn.tolist() == [1, 1]
    assert (score.detection.tp, score.detection.fp, score.detection.fn) == (2, 1, 1)
    assert score.class_detection.confused_fp.tolist() == [1, 0]
    assert score.class_detection.confused_fn.tolist() == [0, 1]
    assert score.dice == pytest.approx(2 * 190 / 600)
    assert score.aji == pytest.approx((90 + 100) / (110 + 100 + 100 + 100))


def test_the_record_of_a_thousand_nuclei_is_small():
    grid = np.kron(np.arange(1, 1025).reshape(32, 32), np.ones((4, 4), np.int32))
    classes = np.ones(1024, int)
    score = score_image(grid, grid, classes, classes, num_classes=7, radius_px=2)
    assert score.binary.tp == score.detection.tp == 1024
    assert len(pickle.dumps(score)) < 3000


def test_a_nucleus_without_class_counts_only_without_class():
    score = score_image(TRUE, PRED, [1, 0, 1], [0, 1, 0], num_classes=2, radius_px=6)
    assert (score.binary.tp, score.binary.fn, score.detection.tp) == (2, 1, 2)
    assert score.per_class.fn.tolist() == [1]
    assert score.per_class.tp.tolist() == [1]
    assert score.class_detection.fp.tolist() == [0]


@pytest.mark.parametrize('true_classes, pred_classes, message', [
    ([1, 1], [1, 1, 1], 'true map holds 3 instances'),
    ([1, 1, 1], [1, 1, 3], r'predicted class id 3: expected 0\.\.2'),
    ([1, -1, 1], [1, 1, 1], 'true class id -1'),
])
def test_classes_that_do_not_fit_are_refused(true_classes, pred_classes, message):
    with pytest.raises(ValueError, match=message):
        score_image(TRUE, PRED, true_classes, pred_classes, 3, 6)
