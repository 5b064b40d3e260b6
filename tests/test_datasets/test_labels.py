# Copyright (c) CellVTA-MMSeg contributors.
import re

import numpy as np
import pytest
from scipy.io import savemat

from mmseg_cellvta.datasets.labels import (
    check_labels,
    count_nuclei,
    read_mat_labels,
)


def two_nuclei():
    inst_map = np.zeros((6, 6), np.int32)
    class_map = np.zeros((6, 6), np.int16)
    inst_map[:2], class_map[:2] = 7, 1
    inst_map[4:], class_map[4:] = 70000, 2
    return inst_map, class_map


def test_right_labels_pass():
    inst_map, class_map = two_nuclei()
    check_labels(inst_map, class_map, 3, 'x')
    class_map[3] = 2  # a class on background pixels is no error
    check_labels(inst_map, class_map, 3, 'x')
    check_labels(np.zeros((4, 4), np.int32), np.zeros((4, 4), np.uint8), 3, 'x')


@pytest.mark.parametrize(('wrong_map', 'where', 'value', 'message'), [
    (1, np.s_[4:], 3, 'class id 3 (instance 70000) is outside the 3 classes 0..2'),
    (1, np.s_[0, 3], 2, 'instance 7 has the classes [1, 2]'),
    (1, np.s_[:2], 0, 'instance 7 has class 0'),
    (0, np.s_[0, 0], -1, 'instance id -1; ids must not be negative'),
    (1, np.s_[3, 0], -1, 'class id -1; ids must not be negative'),
])
def test_wrong_labels_name_image_and_instance(wrong_map, where, value, message):
    maps = two_nuclei()
    maps[wrong_map][where] = value
    with pytest.raises(ValueError, match=re.escape(f'a.npy[3]: {message}')):
        check_labels(*maps, 3, 'a.npy[3]')


def test_nuclei_are_counted_by_class_whatever_their_ids():
    inst_map = np.array([[0, 9, 9, 2], [4, 4, 0, 0]])
    class_map = np.array([[3, 1, 1, 3], [1, 1, 0, 2]])  # 3 and 2 also on background
    assert count_nuclei(inst_map, class_map, 4).tolist() == [2, 0, 1]
    assert count_nuclei(0 * inst_map, class_map, 4).tolist() == [0, 0, 0]


@pytest.mark.parametrize(('maps', 'message'), [
    (dict(inst_map=np.zeros((3, 3))), 'holds no type_map'),
    (dict(inst_map=np.zeros((3, 3)), type_map=np.zeros((3, 4))),
     'inst_map has shape (3, 3)'),
    (dict(inst_map=np.ones((3, 3)), type_map=np.full((3, 3), 257)),
     'type_map goes from 257 to 257'),
    (None, 'not a readable .mat file'),
])
def test_wrong_mat_is_named(tmp_path, maps, message):
    path = tmp_path / 'a.mat'
    if maps is None:
        path.write_bytes(b'MATLAB 5.0 but not really')
    else:
        savemat(path, maps)
    with pytest.raises(ValueError, match=re.escape(f'a.mat: {message}')):
        read_mat_labels(str(path))
