# Copyright (c) CellVTA-MMSeg contributors.
"""CoNSeP from its own files to scores: the ground truth against itself."""
import json
import shutil

import numpy as np
import pytest
from own_data import write_image, write_labels
from run_tool import run_script
from scipy.io import loadmat, savemat

from mmseg_cellvta.datasets import CoNSePDataset

PIPELINE = [dict(type='LoadCellImage'), dict(type='LoadCellAnnotations')]
MERGED = np.array([0, 1, 2, 3, 3, 4, 4, 4])


def as_array(dataset):
    """What the dataset reads, as CoNIC-style labels (N, H, W, 2)."""
    return np.stack([
        np.stack([sample['gt_inst_map'], sample['gt_seg_map']], -1)
        for sample in dataset])


def count_types(source):
    """Nuclei of the merged classes 1 to 4 by ``inst_type``."""
    types = np.concatenate([
        loadmat(path)['inst_type'].ravel().astype(int)
        for path in source.glob('*/Labels/*.mat')])
    types = MERGED[types] if types.max() > 4 else types
    return np.bincount(types, minlength=5)[1:].tolist()


def check_round_trip(source, tmp_path):
    out = tmp_path / 'out'
    run_script('dataset_converters/consep.py', source, out)
    dataset = CoNSePDataset(data_root=str(out), pipeline=PIPELINE)
    assert np.sum([sample['nuclei_per_class'] for sample in dataset], 0).tolist() == (
        count_types(source))
    array = as_array(dataset)
    np.save(tmp_path / 'true.npy', array)
    run_script('analysis_tools/eval_instances.py', tmp_path / 'true.npy',
               tmp_path / 'true.npy', '--num-classes', 5, '--radius-px', 12,
               '--out', tmp_path / 'metrics.json')
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    pairs = [np.unique(labels.reshape(-1, 2), axis=0)[1:] for labels in array]
    present = np.bincount(np.concatenate(pairs)[:, 1], minlength=5)[1:]
    assert present.tolist() == count_types(source)
    assert 'cell/PQ_class_4' in metrics and 'cell/F1_det' in metrics
    # The published panoptic quality adds a millionth to its denominators.
    assert metrics == {name: pytest.approx(1, abs=1e-5) for name in metrics}


def test_made_up_labels_come_through_unchanged(tmp_path, capsys):
    for part, names in dict(Train=['train_1', 'train_2'], Test=['test_1']).items():
        for name in names:
            write_image(tmp_path / f'CoNSeP/{part}/Images/{name}.png')
            (tmp_path / f'CoNSeP/{part}/Labels').mkdir(exist_ok=True)
            maps = np.zeros((2, 40, 60))
            for class_id in range(1, 8):
                maps[:, 3:12, 8 * class_id - 8:8 * class_id] = [
                    [[90 - class_id]], [[class_id]]]
            savemat(tmp_path / f'CoNSeP/{part}/Labels/{name}.mat', dict(
                inst_map=maps[0], type_map=maps[1],
                inst_type=np.arange(7, 0, -1.0)[:, None]))
    check_round_trip(tmp_path / 'CoNSeP', tmp_path)
    printed = capsys.readouterr().out
    assert 'the 7 original classes were merged to 4' in printed
    assert '4 (28.6 %)' in printed  # 3 and 4 are epithelial, in two pictures


def test_real_labels_come_through_unchanged(shared_dir, tmp_path):
    check_round_trip(shared_dir / 'data' / 'CoNSeP', tmp_path)


def test_tiles_are_cut_where_the_options_say(tmp_path):
    write_image(tmp_path / 'Train/Images/train_1.png')
    write_labels(tmp_path / 'Train/Labels/train_1.mat')
    run_script('dataset_converters/consep.py', tmp_path / 'Train', tmp_path / 'out',
               '--tile', 40, '--overlap', 10)
    assert (tmp_path / 'out/train.txt').read_text().split() == [
        'train_1_r0000_c0000', 'train_1_r0000_c0020']


@pytest.mark.parametrize(('args', 'message'), [
    ((), 'exists already'), (('--tile', 40, '--overlap', 40), 'tiles of 40 px'),
    (('--tile', 41), 'train_1: 60 x 40 px, smaller than a tile')])
def test_errors_are_one_sentence(tmp_path, args, message):
    write_image(tmp_path / 'Train/Images/train_1.png')
    write_labels(tmp_path / 'Train/Labels/train_1.mat')
    out = tmp_path / 'out'
    if not args:
        shutil.copytree(tmp_path / 'Train', out)
    with pytest.raises(SystemExit) as stop:
        run_script('dataset_converters/consep.py', tmp_path / 'Train', out, *args)
    assert message in str(stop.value) and '\n' not in str(stop.value)
