# Copyright (c) CellVTA-MMSeg contributors.
import re

import numpy as np
import pytest
from scipy.io import savemat

from mmseg_cellvta.datasets.labels import (
    check_labels,
    count_nuclei,
    open_npy,
    read_mat_labels,
)


def two_nuclei():
    inst_map = np.zeros((6, 6), np.int32)
    class_map = np.zeros((6, 6), np.uint8)
    inst_map[:2], class_map[:2] = 7, 1
    inst_map[4:], class_map[4:] = 70000, 2
    return inst_map, class_map


def test_consistent_labels_pass():
    check_labels(*two_nuclei(), 3, 'x')


def test_image_without_nuclei_passes():
    check_labels(np.zeros((4, 4), np.int32), np.zeros((4, 4), np.uint8), 3, 'x')


def test_class_on_background_pixels_is_no_error():
    inst_map, class_map = two_nuclei()
    class_map[3] = 2
    check_labels(inst_map, class_map, 3, 'x')


def test_class_outside_list_names_image_instance_and_range():
    with pytest.raises(ValueError, match=re.escape(
            'a.npy[3]: class id 2 (instance 70000) is outside the 2 classes 0..1')):
        check_labels(*two_nuclei(), 2, 'a.npy[3]')


def test_two_classes_in_one_instance_are_named():
    inst_map, class_map = two_nuclei()
    class_map[0, 3] = 2
    with pytest.raises(ValueError,
                       match=re.escape('x: instance 7 has the classes [1, 2]')):
        check_labels(inst_map, class_map, 3, 'x')


def test_nucleus_of_class_background_is_named():
    inst_map, class_map = two_nuclei()
    class_map[inst_map == 7] = 0
    with pytest.raises(ValueError, match='instance 7 has class 0'):
        check_labels(inst_map, class_map, 3, 'x')


def test_negative_instance_id_is_an_error():
    inst_map, class_map = two_nuclei()
    inst_map[0, 0] = -1
    with pytest.raises(ValueError, match='instance id -1'):
        check_labels(inst_map, class_map, 3, 'x')


def test_negative_class_id_is_an_error():
    class_map = np.array([[0, -1]], np.int16)
    with pytest.raises(ValueError, match='x: class id -1; ids must not be negative'):
        check_labels(np.array([[0, 1]]), class_map, 3, 'x')


def test_nuclei_are_counted_by_class_whatever_their_ids():
    inst_map = np.array([[0, 9, 9, 2], [4, 4, 0, 0]])
    class_map = np.array([[3, 1, 1, 3], [1, 1, 0, 2]])  # 3 and 2 also on background
    assert count_nuclei(inst_map, class_map, 4).tolist() == [2, 0, 1]
    assert count_nuclei(0 * inst_map, class_map, 4).tolist() == [0, 0, 0]


def test_npy_is_mapped_once_per_process(tmp_path):
    np.save(tmp_path / 'a.npy', np.arange(4))
    first = open_npy(str(tmp_path / 'a.npy'))
    assert isinstance(first, np.memmap)
    assert open_npy(str(tmp_path / 'a.npy')) is first


def test_truncated_npy_is_named_with_its_size(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((100, 100)))
    content = (tmp_path / 'a.npy').read_bytes()
    (tmp_path / 'a.npy').write_bytes(content[:5000])
    with pytest.raises(ValueError, match=r'a\.npy: not a complete .* 5000 bytes'):
        open_npy(str(tmp_path / 'a.npy'))


@pytest.mark.parametrize('content', [b'', b'no array at all'])
def test_file_that_is_no_npy_is_named(tmp_path, content):
    (tmp_path / 'b.npy').write_bytes(content)
    with pytest.raises(ValueError, match=r'b\.npy: not a complete'):
        open_npy(str(tmp_path / 'b.npy'))


def test_mat_with_missing_map_is_named(tmp_path):
    savemat(tmp_path / 'a.mat', dict(inst_map=np.zeros((3, 3))))
    with pytest.raises(ValueError, match=r'a\.mat: holds no type_map'):
        read_mat_labels(str(tmp_path / 'a.mat'))


def test_mat_with_unequal_maps_is_an_error(tmp_path):
    savemat(tmp_path / 'a.mat',
            dict(inst_map=np.zeros((3, 3)), type_map=np.zeros((3, 4))))
    with pytest.raises(ValueError, match=r'inst_map has shape \(3, 3\)'):
        read_mat_labels(str(tmp_path / 'a.mat'))


def test_mat_class_id_that_does_not_fit_8_bits_is_an_error(tmp_path):
    savemat(tmp_path / 'a.mat',
            dict(inst_map=np.ones((3, 3)), type_map=np.full((3, 3), 257)))
    with pytest.raises(ValueError, match='257'):
        read_mat_labels(str(tmp_path / 'a.mat'))


def test_damaged_mat_is_named(tmp_path):
    (tmp_path / 'a.mat').write_bytes(b'MATLAB 5.0 but not really')
    with pytest.raises(ValueError, match=r'a\.mat: not a readable'):
        read_mat_labels(str(tmp_path / 'a.mat'))
