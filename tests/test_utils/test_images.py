# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_cellvta.utils.images import read_id_image, read_image, read_image_size

RED = np.full((30, 40, 3), (200, 120, 10), np.uint8)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif'])
def test_pictures_are_read_as_rgb(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    cv2.imwrite(str(path), RED[..., ::-1])
    picture = read_image(path)
    assert picture.dtype == np.uint8 and picture.shape == RED.shape
    assert np.abs(picture.astype(int) - RED).max() <= 3
    assert read_image_size(path) == (30, 40)


@pytest.mark.parametrize('mode', ['RGBA', 'L', 'P'])
def test_transparency_grey_and_palettes_become_rgb(tmp_path, mode):
    Image.fromarray(RED).convert(mode).save(tmp_path / 'a.png')
    assert read_image(tmp_path / 'a.png').shape == RED.shape


def test_sixteen_bit_grey_is_no_picture(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((4, 4), np.uint16))
    with pytest.raises(ValueError, match='a.png: of the kind I;16; expected RGB'):
        read_image(tmp_path / 'a.png')


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_sixteen_bit_rgb_is_no_picture(tmp_path, suffix):
    cv2.imwrite(str(tmp_path / f'a{suffix}'), np.zeros((4, 4, 3), np.uint16))
    with pytest.raises(ValueError, match='8 bits per channel; export it so'):
        read_image(tmp_path / f'a{suffix}')


def test_transparent_pixels_are_white(tmp_path):
    rgba = np.array([[[200, 120, 10, 255], [200, 120, 10, 0]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / 'a.png')
    assert read_image(tmp_path / 'a.png').tolist() == [
        [[200, 120, 10], [255, 255, 255]]]


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif'])
@pytest.mark.parametrize('read', [read_image, read_id_image])
def test_truncated_file_is_named(tmp_path, suffix, read):
    path = tmp_path / f'a{suffix}'
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    cv2.imwrite(str(path), noise)
    path.write_bytes(path.read_bytes()[:30000])
    with pytest.raises(ValueError, match=f'a{suffix}: (damaged|not a readable)'):
        read(path)


def test_missing_file_and_other_content_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='a.png: no such file'):
        read_image_size(tmp_path / 'a.png')
    (tmp_path / 'b.png').write_text('no picture')
    with pytest.raises(ValueError, match='b.png: not a readable picture'):
        read_image_size(tmp_path / 'b.png')


@pytest.mark.parametrize(('suffix', 'dtype'), [
    ('.png', np.uint8), ('.png', np.uint16), ('.tif', np.uint8), ('.tif', np.uint16),
    ('.tif', np.int32), ('.tif', np.float32)])
def test_ids_keep_their_values(tmp_path, suffix, dtype):
    ids = np.arange(12).reshape(3, 4).astype(dtype) * (20 if dtype == np.uint8 else 500)
    cv2.imwrite(str(tmp_path / f'a{suffix}'), ids)
    assert (read_id_image(tmp_path / f'a{suffix}') == ids).all()


def test_ids_of_a_picture_with_a_palette_are_its_indices(tmp_path):
    picture = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    picture = picture.convert('P')
    picture.putpalette(np.random.default_rng(0).integers(0, 255, 768).tolist())
    picture.save(tmp_path / 'a.png')
    assert read_id_image(tmp_path / 'a.png').tolist()[2] == [8, 9, 10, 11]


def test_ids_in_three_channels_are_refused(tmp_path):
    Image.fromarray(RED).save(tmp_path / 'a.png')
    with pytest.raises(ValueError, match='a.png: 3 channels; expected one channel'):
        read_id_image(tmp_path / 'a.png')
