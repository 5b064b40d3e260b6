# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
from scipy.io import savemat

from mmseg_cellvta.conversion.health import inspect_parts
from mmseg_cellvta.datasets import CoNICDataset, CoNSePDataset


def test_merged_classes_are_checked_as_the_file_has_them(tmp_path):
    """CoNSeP's 7 original classes are right, though the data set lists 4."""
    for folder in ('Images', 'Labels'):
        (tmp_path / folder).mkdir()
    inst_map, type_map = np.zeros((2, 40, 60))
    for index, class_id in enumerate((3, 4, 7, 8)):
        inst_map[5:13, 10 * index:10 * index + 8] = index + 1
        type_map[5:13, 10 * index:10 * index + 8] = class_id
    cv2.imwrite(str(tmp_path / 'Images/a.png'), np.zeros((40, 60, 3), np.uint8))
    savemat(tmp_path / 'Labels/a.mat', dict(inst_map=inst_map, type_map=type_map))
    dataset = CoNSePDataset(
        data_root=str(tmp_path), pipeline=[], validate_labels=False)
    report = inspect_parts(dict(train=[dataset]))
    assert [str(found) for found in report.findings] == [
        'train: a: class 8: instance 4', 'train: other', 'train: inflammatory']
    assert report.nuclei['train'] == {3: 2, 4: 1, -1: 1}


def test_patches_of_an_array_are_read_by_index(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / 'images.npy',
            rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    labels = np.zeros((3, 32, 32, 2), np.uint16)
    labels[:, 2:8, 4:12] = 1, 2
    labels[2, 2:4, 4:6, 1] = 1
    np.save(tmp_path / 'labels.npy', labels)
    (tmp_path / 'patch_info.csv').write_text('patch_info\na-0\na-1\nb-0\n')
    dataset = CoNICDataset(data_root=str(tmp_path), pipeline=[], validate_labels=False)
    report = inspect_parts(dict(test=[dataset]))
    assert str(report.findings[0]) == 'test: b-0: instance 1: classes [1, 2]'
    assert report.counts['two_classes'] == 1 and report.pictures == dict(test=3)
