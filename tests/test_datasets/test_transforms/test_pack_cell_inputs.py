# Copyright (c) CellVTA-MMSeg contributors.
import warnings

import numpy as np
import torch

from mmseg_cellvta.datasets.transforms import PackCellInputs


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
