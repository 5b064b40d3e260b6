# Copyright (c) CellVTA-MMSeg contributors.
import json
import math
import shutil

import numpy as np
import pytest
from run_tool import run_tool
from stained_folder import draw_labels, write_folder

from mmseg_cellvta.evaluation.exchange import write_label_map


@pytest.fixture
def config(tmp_path):
    return write_folder(tmp_path / 'data')


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'data'


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'arrays'


@pytest.fixture
def cells(tmp_path):
    """Predictions of the two test images: right, but for the order of the ids."""
    folder = tmp_path / 'cells'
    folder.mkdir()
    for index, name in enumerate(('c_1', 'c_2')):
        inst_map = draw_labels(shift=index)[..., 0] // 3
        inst_map[inst_map > 0] = 7 - inst_map[inst_map > 0]
        write_label_map(folder / f'{name}.npy', inst_map, np.array([2, 1] * 3))
    return folder


def export(*args):
    return run_tool('analysis_tools/export_arrays.py', *args)


def score(out, *args):
    """Figures of pred.npy against true.npy, or of the two files that are given."""
    files = args or (out / 'true.npy', out / 'pred.npy')
    code = run_tool('analysis_tools/eval_instances.py', *files, '--num-classes', 3,
                    '--out', out / 'metrics.json')
    assert code == 0
    return json.loads((out / 'metrics.json').read_text())


def test_truth_scored_against_itself_is_one_everywhere(config, out):
    assert export(config, out) == 0
    written = sorted(path.name for path in out.iterdir())
    assert written == ['conversion.json', 'true.npy']
    true = np.load(out / 'true.npy')
    assert true.shape == (2, 64, 64, 2) and true.dtype == np.uint16
    assert np.array_equal(true[1], draw_labels(shift=1))
    metrics = score(out, out / 'true.npy', out / 'true.npy')
    assert all(math.isclose(value, 1, abs_tol=1e-5) for value in metrics.values())


def test_predictions_are_beside_the_truth_in_the_order_of_the_data(config, out, cells):
    assert export(config, out, '--predictions', cells) == 0
    pred = np.load(out / 'pred.npy')
    assert pred[0, 13, 10].tolist() == [6, 1] and pred[1, 13, 6].tolist() == [0, 0]
    assert all(math.isclose(value, 1, abs_tol=1e-5) for value in score(out).values())


def test_pannuke_arrays_have_tissues_and_background(config, out, cells):
    tissue = 'test_dataloader.dataset.tissue=Skin'
    assert export(config, out, '--predictions', cells, '--format', 'pannuke',
                  '--cfg-options', tissue) == 0
    true, pred = (np.load(out / f'{name}/masks.npy') for name in ('true', 'pred'))
    assert true.shape == (2, 64, 64, 3)
    assert np.array_equal(true[..., 2], true[..., :2].sum(axis=-1) == 0)
    assert np.array_equal(true > 0, pred > 0)
    assert np.load(out / 'types.npy').tolist() == ['Skin', 'Skin']


def remove_prediction(root, cells):
    (cells / 'c_2.npy').unlink()


def crop_prediction(root, cells):
    np.save(cells / 'c_2.npy', np.load(cells / 'c_2.npy')[:32])


def break_truth(root, cells):
    labels = np.load(root / 'Labels/c_1.npy')
    labels[8:20, 6:14, 1] = 9
    np.save(root / 'Labels/c_1.npy', labels)


def remove_data(root, cells):
    shutil.rmtree(root)


@pytest.mark.parametrize('damage, message', [
    (remove_prediction, 'c_2.npy: no such file'),
    (crop_prediction, 'c_2 (pred): (32, 64) (rows, columns) px, but c_1 (64, 64)'),
    (break_truth, 'c_1.npy: class id 9 (instance 3)'),
    (remove_data, 'dataset.json: no such file'),
])
def test_what_is_wrong_is_named_and_nothing_is_written(
        config, root, out, cells, damage, message):
    damage(root, cells)
    code = export(config, out, '--predictions', cells)
    assert code.startswith('error: ') and message in code
    assert not list(out.parent.glob('arrays*'))


def test_names_that_are_there_twice_are_refused(config, out):
    data_root = str(config.with_name('data'))
    text = config.read_text() + (
        f'inner = dict(type="CellFolderDataset", data_root={data_root!r})\n'
        'test_dataloader = dict(dataset=dict(type="ConcatDataset", datasets=['
        'dict(ann_file="val.txt", **inner), inner]))\n')
    config.write_text(text)
    assert "several images, the first is 'b_1'" in export(config, out)


def test_a_config_without_test_data_is_refused(config, out):
    assert 'has no test_dataloader' in export(
        config, out, '--cfg-options', 'test_dataloader=None')
