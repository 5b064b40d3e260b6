# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.evaluation import LabelArray


def save(path, change=None, dtype=np.uint16):
    """Two images of 8 x 8 px with instances 4 (class 2) and 9 (class 1)."""
    labels = np.zeros((2, 8, 8, 2), dtype)
    labels[:, 1:4, 1:4] = 4, 2
    labels[:, 5:8, 5:8] = 9, 1
    if change is not None:
        change(labels)
    np.save(path, labels)
    return path


def test_an_image_is_its_ids_and_the_classes_in_order_of_the_ids(tmp_path):
    labels = LabelArray(save(tmp_path / 'gt.npy'), num_classes=3)
    assert len(labels) == 2 and labels.shape == (2, 8, 8, 2)
    inst_map, classes = labels[1]
    assert inst_map[2, 2] == 4 and inst_map[6, 6] == 9 and inst_map[0, 0] == 0
    assert classes.tolist() == [2, 1]
    assert labels.mixed == []


def test_an_instance_with_two_classes_is_noted_and_takes_the_majority(tmp_path):
    def change(labels):
        labels[1, 1, 1, 1] = 1

    labels = LabelArray(save(tmp_path / 'gt.npy', change), num_classes=3)
    assert [labels[index][1].tolist() for index in range(2)] == [[2, 1], [2, 1]]
    assert labels.mixed == [(1, 4)]


def test_a_class_outside_the_list_is_named_with_file_and_place(tmp_path):
    def change(labels):
        labels[1, 6, 5:, 1] = 7

    labels = LabelArray(save(tmp_path / 'gt.npy', change), num_classes=3)
    labels[0]
    with pytest.raises(ValueError, match=(
            r'gt.npy: class id 7 in image 1 at row 6, column 5; expected 0\.\.2')):
        labels[1]


@pytest.mark.parametrize('channel, what', [(0, 'instance id -3'), (1, 'class id -3')])
def test_negative_ids_are_refused(tmp_path, channel, what):
    def change(labels):
        labels[0, 2, 2, channel] = -3

    labels = LabelArray(save(tmp_path / 'gt.npy', change, np.int32), num_classes=3)
    with pytest.raises(ValueError, match=f'{what} in image 0 at row 2, column 2'):
        labels[0]


def test_a_truncated_file_is_refused_on_opening(tmp_path):
    path = save(tmp_path / 'gt.npy')
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match='gt.npy: not a complete .npy file'):
        LabelArray(path, num_classes=3)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='gt.npy: no such file'):
        LabelArray(tmp_path / 'gt.npy', num_classes=3)


def test_an_archive_is_refused(tmp_path):
    np.savez(tmp_path / 'gt.npz', labels=np.zeros((1, 4, 4, 2), int))
    with pytest.raises(ValueError, match='an .npz archive'):
        LabelArray(tmp_path / 'gt.npz', num_classes=3)


@pytest.mark.parametrize('array, message', [
    (np.zeros((2, 8, 8), int), r'shape \(2, 8, 8\), expected \(N, H, W, 2\)'),
    (np.zeros((2, 8, 8, 3), int), r'shape \(2, 8, 8, 3\)'),
    (np.zeros((2, 8, 8, 2)), 'dtype float64, expected integers'),
])
def test_other_layouts_are_refused(tmp_path, array, message):
    np.save(tmp_path / 'gt.npy', array)
    with pytest.raises(ValueError, match=message):
        LabelArray(tmp_path / 'gt.npy', num_classes=3)
