# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from own_data import label_maps, write_labels

from mmseg_cellvta.datasets.transforms import LoadCellAnnotations


def save(tmp_path, inst, cls):
    path = str(tmp_path / 'labels.npy')
    np.save(path, np.array([[inst, cls]], np.uint16).reshape(1, 2, 1, -1)
            .transpose(0, 2, 3, 1))
    return dict(label_path=path, label_index=0, num_classes=3)


def test_ids_above_255_survive(tmp_path):
    results = LoadCellAnnotations()(save(tmp_path, [0, 256, 65535], [0, 1, 2]))
    assert results['gt_inst_map'].tolist() == [[0, 256, 65535]]
    assert results['gt_inst_map'].dtype == np.int32
    assert results['gt_seg_map'].tolist() == [[0, 1, 2]]
    assert results['gt_seg_map'].dtype == np.uint8


def test_both_maps_join_the_fields_that_transforms_move(tmp_path):
    info = save(tmp_path, [0, 1], [0, 1])
    results = LoadCellAnnotations()(dict(info, seg_fields=[]))
    assert results['seg_fields'] == ['gt_inst_map', 'gt_seg_map']


def test_image_without_labels_passes_unchanged():
    results = dict(img=np.zeros((2, 2, 3), np.uint8))
    assert LoadCellAnnotations()(dict(results)).keys() == results.keys()


def test_class_beyond_8_bits_is_not_wrapped(tmp_path):
    with pytest.raises(ValueError, match=r'labels.npy\[0\]: class id 257 \(instance 9'):
        LoadCellAnnotations()(save(tmp_path, [0, 9], [0, 257]))


def test_class_ids_of_the_file_are_translated(tmp_path):
    info = save(tmp_path, [0, 1, 2], [0, 1, 5])
    results = LoadCellAnnotations()(dict(info, class_of_id=(0, 1, 2, 2, 2, 2)))
    assert results['gt_seg_map'].tolist() == [[0, 1, 2]]


def test_class_subset_is_refused(tmp_path):
    info = save(tmp_path, [0, 1], [0, 1])
    with pytest.raises(ValueError, match='subset of the classes'):
        LoadCellAnnotations()(dict(info, label_map={0: 0, 1: 255}))


@pytest.mark.parametrize('suffix', ['.npy', '.mat'])
def test_changes_to_the_maps_reach_neither_file_nor_cache(tmp_path, suffix):
    write_labels(tmp_path / f'a{suffix}')
    info = dict(label_path=str(tmp_path / f'a{suffix}'), num_classes=3)
    for _ in range(2):
        results = LoadCellAnnotations()(dict(info))
        for key, expected in zip(results['seg_fields'], label_maps(), strict=True):
            assert (results[key] == expected).all()
            results[key][:] = 0


def test_labels_of_another_size_than_the_picture_are_named(tmp_path):
    write_labels(tmp_path / 'a.npy')
    info = dict(label_path=str(tmp_path / 'a.npy'), num_classes=3, ori_shape=(60, 40))
    with pytest.raises(ValueError, match=r'a.npy: \(40, 60\) .* picture \(60, 40\)'):
        LoadCellAnnotations()(info)
