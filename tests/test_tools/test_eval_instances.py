# Copyright (c) CellVTA-MMSeg contributors.
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from run_tool import run_script

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = np.load(ROOT / 'tests' / 'data' / 'metrics_8img.npz')


@pytest.fixture
def run():
    return partial(run_script, 'analysis_tools/eval_instances.py')


@pytest.fixture
def files(tmp_path):
    for name, keys in dict(
            gt=('gt_inst', 'gt_type'), pred=('pred_inst', 'pred_type')).items():
        np.save(tmp_path / f'{name}.npy', np.stack([GOLDEN[key] for key in keys], -1))
    tissues = [f'tissue {number}' for number in GOLDEN['tissue']]
    (tmp_path / 'tissue.json').write_text(json.dumps(tissues))
    return tmp_path


def test_the_golden_images_score_as_published(files, run, capsys):
    run(files / 'gt.npy', files / 'pred.npy', '--num-classes', 7,
        '--tissue', files / 'tissue.json', '--radius-px', 6,
        '--out', files / 'metrics.json')
    metrics = json.loads((files / 'metrics.json').read_text())
    expected = dict(
        bPQ='bPQ_image', mPQ='mPQ_image', bPQ_tissue='bPQ_tissue',
        mPQ_tissue='mPQ_tissue', mPQ_plus='mPQ_plus', PQ_conic='conic_binary_pq')
    for name, key in expected.items():
        assert metrics[f'cell/{name}'] == pytest.approx(float(GOLDEN[key]), abs=1e-6)
    assert metrics['cell/F1_det'] == pytest.approx(
        GOLDEN['detection_f1_prec_rec'][0], abs=1e-6)
    for index in range(6):
        assert metrics[f'cell/PQ_class_{index + 1}'] == pytest.approx(
            GOLDEN['class_pq_image'][index], abs=1e-6)
    assert f'bPQ              {metrics["cell/bPQ"]:.4f}' in capsys.readouterr().out


def test_figures_of_tissues_are_in_the_file_only(files, run, capsys):
    run(files / 'gt.npy', files / 'pred.npy', '--num-classes', 7,
        '--tissue', files / 'tissue.json', '--out', files / 'metrics.json')
    metrics = json.loads((files / 'metrics.json').read_text())
    tissues = set(json.loads((files / 'tissue.json').read_text()))
    by_tissue = [metrics[f'cell/bPQ_tissue_{tissue}'] for tissue in tissues]
    assert np.nanmean(by_tissue) == pytest.approx(metrics['cell/bPQ_tissue'])
    assert 'bPQ_tissue_' not in capsys.readouterr().out


def test_a_byte_order_mark_in_the_list_of_tissues_changes_nothing(files, run):
    tissues = (files / 'tissue.json').read_text()
    (files / 'tissue.json').write_text(tissues, encoding='utf-8-sig')
    run(files / 'gt.npy', files / 'pred.npy', '--num-classes', 7,
        '--tissue', files / 'tissue.json')


def test_an_instance_with_two_classes_is_reported(files, run, capsys):
    pred = np.load(files / 'pred.npy')
    rows, cols = np.nonzero(pred[4, ..., 0] == 5)
    pred[4, rows[0], cols[0], 1] = pred[4, rows[0], cols[0], 1] % 6 + 1
    np.save(files / 'pred.npy', pred)
    run(files / 'gt.npy', files / 'pred.npy', '--num-classes', 7)
    assert 'pred.npy: 1 instances hold more than one class (first: image 4, id 5)' in (
        capsys.readouterr().err)


def shorten(files):
    np.save(files / 'pred.npy', np.load(files / 'pred.npy')[:7])


def change_class(files):
    gt = np.load(files / 'gt.npy')
    gt[6, 10, 20, 1] = 9
    np.save(files / 'gt.npy', gt)


def drop_tissue(files):
    (files / 'tissue.json').write_text('["colon"]')


def name_tissues(name, last):
    return lambda files: (files / 'tissue.json').write_text(
        json.dumps([name] * 7 + [last]))


@pytest.mark.parametrize('damage, message', [
    (shorten, r'pred.npy: shape (7, 128, 128, 2) does not match'),
    (change_class, 'gt.npy: class id 9 in image 6 at row 10, column 20'),
    (drop_tissue, 'tissue.json: 1 entries, expected a list of 8 tissue names'),
    (name_tissues('colon', None), 'tissue.json: entry 7 is None; expected the name'),
    (name_tissues('colon', ''), "tissue.json: entry 7 is ''; expected the name"),
    (name_tissues('colon', 'Colon'), "tissue 'Colon' is there twice (also as 'colon')"),
    (name_tissues('colon', 'colon '), "tissue 'colon ' is there twice"),
])
def test_bad_files_give_one_line_and_write_nothing(files, run, damage, message):
    damage(files)
    with pytest.raises(SystemExit) as stop:
        run(files / 'gt.npy', files / 'pred.npy', '--num-classes', 7, '--tissue',
            files / 'tissue.json', '--out', files / 'metrics.json')
    assert str(stop.value).startswith('error: ') and message in str(stop.value)
    assert not (files / 'metrics.json').exists()


@pytest.mark.parametrize('args', [
    ['--num-classes', 1], ['--num-classes', 7, '--radius-px', 0],
    ['--num-classes', 7, '--out', 'no/such/folder/metrics.json']])
def test_bad_arguments_are_refused_before_reading(files, run, args):
    with pytest.raises(SystemExit) as stop:
        run(files / 'missing.npy', files / 'missing.npy', *args)
    assert stop.value.code == 2
