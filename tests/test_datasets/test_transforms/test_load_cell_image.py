# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
from mmseg.registry import TRANSFORMS

from mmseg_cellvta.datasets.transforms import LoadCellImage

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
