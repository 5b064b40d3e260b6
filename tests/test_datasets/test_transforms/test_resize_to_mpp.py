# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
from mmseg.registry import TRANSFORMS


def build(**kwargs):
    return TRANSFORMS.build(dict(type='ResizeToMpp', **kwargs))


def sample(height=256, width=256, **keys):
    img = np.random.randint(0, 256, (height, width, 3), dtype=np.uint8)
    inst_map = np.random.randint(0, 70_000, (height, width), dtype=np.int32)
    return dict(img=img, gt_inst_map=inst_map, gt_seg_map=inst_map.astype(np.uint8),
                seg_fields=['gt_inst_map', 'gt_seg_map'], **keys)


def test_a_conic_patch_gets_the_size_of_the_released_test_code():
    results = build(mpp=0.5 * 256 / 480)(sample(mpp=0.5))
    assert results['img'].shape == (480, 480, 3)
    assert results['img_shape'] == (480, 480)
    assert results['scale_factor'] == (1.875, 1.875)


@pytest.mark.parametrize('mpp', [0.125, 0.23, 0.25, 0.46, 1.0])
def test_any_scanner_comes_to_the_same_scale(mpp):
    results = build(mpp=0.25)(sample(height=120, width=200, mpp=mpp))
    expected = round(120 * mpp / 0.25), round(200 * mpp / 0.25)
    assert results['img'].shape[:2] == results['gt_inst_map'].shape == expected


def test_labels_keep_their_ids_and_stay_under_their_picture():
    results = sample(mpp=0.5)
    before = results['gt_inst_map'].copy()
    after = build(mpp=0.25)(results)['gt_inst_map']
    np.testing.assert_array_equal(after, before.repeat(2, 0).repeat(2, 1))
    assert results['gt_seg_map'].dtype == np.uint8


def test_a_square_stays_at_its_place_at_an_odd_scale():
    results = sample(mpp=0.5)
    inst_map = np.zeros((256, 256), np.int32)
    inst_map[101:140, 60:90] = 7
    results.update(img=np.repeat(inst_map[..., None] * 30, 3, 2).astype(np.uint8),
                   gt_inst_map=inst_map)
    results = build(mpp=0.5 * 256 / 480)(results)
    bright = (results['img'][..., 0] > 105).astype(np.uint8)
    labels = (results['gt_inst_map'] == 7).astype(np.uint8)
    boxes = np.array([cv2.boundingRect(mask) for mask in (bright, labels)])
    assert np.abs(boxes[0] - boxes[1]).max() <= 1


def test_pictures_that_do_not_say_their_scale_take_that_of_the_config():
    transform = build(mpp=0.25, source_mpp=0.5)
    assert transform(sample(mpp=0.25))['img'].shape == (256, 256, 3)
    assert transform(sample())['img'].shape == (512, 512, 3)


def test_an_unknown_scale_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match='a.png: .* set source_mpp'):
        build(mpp=0.25)(sample(img_path='a.png'))


@pytest.mark.parametrize('wrong', [dict(mpp=0), dict(mpp=0.25, source_mpp=-1)])
def test_a_scale_below_0_is_an_error(wrong):
    with pytest.raises(ValueError, match='expected µm/px above 0'):
        build(**wrong)
