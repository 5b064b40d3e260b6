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
)

BGR = np.full((6, 9, 3), (10, 100, 200), np.uint8)


@pytest.mark.parametrize('suffix', ['png', 'tif', 'jpg'])
def test_picture_file_is_bgr(tmp_path, suffix):
    path = str(tmp_path / f'a.{suffix}')
    cv2.imwrite(path, BGR)
    results = LoadCellImage()(dict(img_path=path))
    assert np.abs(results['img'].astype(int) - BGR).max() <= 3  # jpg loses a little
    assert results['ori_shape'] == results['img_shape'] == (6, 9)
    assert results['sample_name'] == 'a'


def test_gray_picture_gets_three_channels(tmp_path):
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, BGR[..., 0])
    assert LoadCellImage()(dict(img_path=path))['img'].shape == (6, 9, 3)


def test_writing_into_an_image_does_not_change_the_next_one(tmp_path):
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, BGR)
    LoadCellImage()(dict(img_path=path))['img'][:] = 0
    np.testing.assert_array_equal(LoadCellImage()(dict(img_path=path))['img'], BGR)


def test_rgb_stack_becomes_writable_bgr(tmp_path):
    path = str(tmp_path / 'images.npy')
    np.save(path, BGR[None, ..., ::-1])
    img = LoadCellImage()(dict(img_path=path, img_index=0))['img']
    np.testing.assert_array_equal(img, BGR)
    assert img.flags.writeable and img.flags.c_contiguous


def test_name_of_the_dataset_is_kept(tmp_path):
    path = str(tmp_path / 'a.png')
    cv2.imwrite(path, BGR)
    results = LoadCellImage()(dict(img_path=path, sample_name='x-0001'))
    assert results['sample_name'] == 'x-0001'


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match='none.png: no such image file'):
        LoadCellImage()(dict(img_path='none.png'))


def test_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / 'a.png').write_text('no picture')
    with pytest.raises(ValueError, match='a.png: not a readable picture'):
        LoadCellImage()(dict(img_path=str(tmp_path / 'a.png')))


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


def test_horizontal_map_comes_first():
    inst_map = np.zeros((9, 9), np.int32)
    inst_map[2:7, 2:7] = 300
    hv_map = GenerateHoverTargets()(dict(gt_inst_map=inst_map))['gt_hv_map']
    assert hv_map.shape == (2, 9, 9) and hv_map.dtype == np.float32
    assert (np.diff(hv_map[0, 4, 2:7]) > 0).all()  # grows along x
    assert (np.diff(hv_map[1, 2:7, 4]) > 0).all()  # grows along y
    assert (hv_map[:, inst_map == 0] == 0).all()


def results_of(height=4, width=6):
    return dict(
        img=np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3),
        gt_seg_map=np.ones((height, width), np.uint8),
        gt_inst_map=np.full((height, width), 70000, np.int32),
        gt_hv_map=np.zeros((2, height, width), np.float32), img_path='a.png',
        sample_name='a', ori_shape=(4, 6), img_shape=(4, 6), mpp=0.5, tissue='Colon')


def test_maps_get_their_shapes_and_dtypes():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        packed = PackCellInputs()(results_of())
    sample = packed['data_samples']
    assert packed['inputs'].shape == (3, 4, 6)
    assert packed['inputs'].dtype == torch.uint8
    for key, shape, dtype in [('gt_sem_seg', (1, 4, 6), torch.int64),
                              ('gt_inst_map', (1, 4, 6), torch.int32),
                              ('gt_hv_map', (2, 4, 6), torch.float32)]:
        data = getattr(sample, key).data
        assert (tuple(data.shape), data.dtype) == (shape, dtype), key
    assert sample.gt_inst_map.data.max() == 70000


def test_mirrored_maps_can_be_packed():
    results = results_of()
    results['gt_inst_map'] = results['gt_inst_map'][:, ::-1]
    assert PackCellInputs()(results)['data_samples'].gt_inst_map.shape == (4, 6)


def test_metainfo_carries_name_scale_and_tissue():
    meta = PackCellInputs()(results_of())['data_samples'].metainfo
    assert meta == dict(img_path='a.png', sample_name='a', ori_shape=(4, 6),
                        img_shape=(4, 6), mpp=0.5, tissue='Colon')


def test_image_without_labels_is_packed():
    img = np.zeros((4, 6, 3), np.uint8)
    sample = PackCellInputs()(dict(img=img))['data_samples']
    assert 'gt_inst_map' not in sample and 'gt_hv_map' not in sample
