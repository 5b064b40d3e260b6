# Copyright (c) CellVTA-MMSeg contributors.
import warnings

import cv2
import numpy as np
import pytest
import torch
from mmseg.registry import TRANSFORMS
from own_data import label_maps, write_labels

from mmseg_cellvta.datasets.transforms import (
    GenerateHoverTargets,
    LoadCellAnnotations,
    LoadCellImage,
    PackCellInputs,
    hv_target,
)

BGR = np.full((6, 9, 3), (10, 100, 200), np.uint8)


@pytest.fixture(params=['file', 'stack'])
def info(request, tmp_path):
    """An image in a file of its own, or in a stack of RGB images."""
    if request.param == 'file':
        cv2.imwrite(str(tmp_path / 'a.png'), BGR)
        return dict(img_path=str(tmp_path / 'a.png'))
    np.save(tmp_path / 'images.npy', np.stack([BGR, BGR])[..., ::-1])
    return dict(img_path=str(tmp_path / 'images.npy'), img_index=1, sample_name='a')


def test_image_is_bgr_and_may_be_changed(info):
    for _ in range(2):
        results = LoadCellImage()(dict(info))
        np.testing.assert_array_equal(results['img'], BGR)
        assert results['img'].flags.c_contiguous
        assert results['ori_shape'] == results['img_shape'] == (6, 9)
        assert results['sample_name'] == 'a'
        results['img'][:] = 0


def test_last_files_stay_in_memory(tmp_path):
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), BGR)
    LoadCellImage()(dict(img_path=str(path)))
    path.unlink()
    assert LoadCellImage()(dict(img_path=str(path)))['img'].shape == (6, 9, 3)


def test_settings_fit_the_array_loader_that_inference_model_puts_in_its_place():
    settings = dict(type='LoadCellImage')
    settings['type'] = 'LoadImageFromNDArray'
    results = TRANSFORMS.build(settings)(dict(img=BGR))
    np.testing.assert_array_equal(results['img'], BGR)


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
    assert results['seg_fields'] == ['gt_inst_map', 'gt_seg_map']


def test_image_without_labels_passes_unchanged():
    results = dict(img=np.zeros((2, 2, 3), np.uint8))
    assert LoadCellAnnotations()(dict(results)).keys() == results.keys()


def test_class_ids_of_the_file_are_translated(tmp_path):
    info = save(tmp_path, [0, 1, 2], [0, 1, 5])
    results = LoadCellAnnotations()(dict(info, class_of_id=(0, 1, 2, 2, 2, 2)))
    assert results['gt_seg_map'].tolist() == [[0, 1, 2]]


@pytest.mark.parametrize('suffix', ['.npy', '.mat'])
def test_changes_to_the_maps_reach_neither_file_nor_cache(tmp_path, suffix):
    write_labels(tmp_path / f'a{suffix}')
    info = dict(label_path=str(tmp_path / f'a{suffix}'), num_classes=3)
    for _ in range(2):
        results = LoadCellAnnotations()(dict(info))
        for key, expected in zip(results['seg_fields'], label_maps(), strict=True):
            assert (results[key] == expected).all()
            results[key][:] = 0


@pytest.mark.parametrize(('class_id', 'info', 'message'), [
    (257, {}, r'labels.npy\[0\]: class id 257 \(instance 9'),  # 1 in 8 bits
    (1, dict(label_map={0: 0, 1: 255}), 'labels.npy: .* subset of the classes'),
    (1, dict(ori_shape=(2, 1)), r'labels.npy\[0\]: \(1, 2\) .* image \(2, 1\)')])
def test_wrong_labels_are_refused(tmp_path, class_id, info, message):
    with pytest.raises(ValueError, match=message):
        LoadCellAnnotations()(dict(save(tmp_path, [0, 9], [0, class_id]), **info))


def test_targets_are_those_of_the_instance_map():
    inst_map = np.zeros((9, 12), np.int32)
    inst_map[2:7, 2:7] = 300
    np.testing.assert_array_equal(
        GenerateHoverTargets()(dict(gt_inst_map=inst_map))['gt_hv_map'],
        hv_target(inst_map))


def test_maps_are_packed_with_their_shapes_dtypes_and_metainfo():
    meta = dict(img_path='a.png', sample_name='a', ori_shape=(4, 6), img_shape=(4, 6),
                mpp=0.5, network_mpp=0.25, tissue='Colon')
    mirrored = np.full((4, 6), 70000, np.int32)[:, ::-1]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        packed = PackCellInputs()(dict(
            img=np.zeros((4, 6, 3), np.uint8), gt_seg_map=np.ones((4, 6), np.uint8),
            gt_inst_map=mirrored, gt_hv_map=np.zeros((2, 4, 6), np.float32), **meta))
    sample = packed['data_samples']
    assert packed['inputs'].shape == (3, 4, 6)
    assert packed['inputs'].dtype == torch.uint8
    for key, shape, dtype in [('gt_sem_seg', (1, 4, 6), torch.int64),
                              ('gt_inst_map', (1, 4, 6), torch.int32),
                              ('gt_hv_map', (2, 4, 6), torch.float32)]:
        data = getattr(sample, key).data
        assert (tuple(data.shape), data.dtype) == (shape, dtype), key
    assert sample.gt_inst_map.data.max() == 70000
    assert sample.metainfo == meta


def test_image_without_labels_is_packed():
    img = np.zeros((4, 6, 3), np.uint8)
    sample = PackCellInputs()(dict(img=img))['data_samples']
    assert 'gt_inst_map' not in sample and 'gt_hv_map' not in sample
