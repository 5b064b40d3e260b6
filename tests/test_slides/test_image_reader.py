# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from PIL import Image
from slide_files import color_field

from mmseg_cellvta.slides import ImageReader

PICTURE = color_field(40, 50)


@pytest.mark.parametrize(('dpi', 'mpp'), [(50800, 0.5), (96, None), (300, None)])
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_resolution_of_a_microscope_is_taken(tmp_path, suffix, dpi, mpp):
    path = tmp_path / f'a{suffix}'
    Image.fromarray(PICTURE).save(path, dpi=(dpi, dpi))
    assert ImageReader(path).mpp == (mpp and pytest.approx(mpp, rel=1e-3))


def test_grey_and_transparent_pictures_become_rgb(tmp_path):
    grey = Image.fromarray(PICTURE[..., 0])
    grey.save(tmp_path / 'grey.png')
    picture = ImageReader(tmp_path / 'grey.png').read(0, 0, 0, 50, 40)
    np.testing.assert_array_equal(picture, np.repeat(PICTURE[..., :1], 3, 2))
    rgba = np.dstack([PICTURE, np.full((40, 50), 255, np.uint8)])
    rgba[:, :20, 3] = 0
    Image.fromarray(rgba).save(tmp_path / 'clear.png')
    picture = ImageReader(tmp_path / 'clear.png').read(0, 0, 0, 50, 40)
    assert (picture[:, :20] == 255).all()
    np.testing.assert_array_equal(picture[:, 20:], PICTURE[:, 20:])


def test_damaged_picture_is_named(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'no picture')
    with pytest.raises(ValueError, match='^a.png: not a readable picture'):
        ImageReader(tmp_path / 'a.png')


@pytest.mark.parametrize('array', [
    PICTURE[..., 0], PICTURE / 255, PICTURE.astype(np.uint16), PICTURE[:0]])
def test_other_arrays_are_refused(array):
    with pytest.raises(ValueError, match=r'array: shape \(.*expected an RGB picture'):
        ImageReader(array)


def test_what_was_read_may_be_changed():
    reader = ImageReader(PICTURE.copy())
    reader.read(0, 0, 0, 50, 40)[:] = 0
    np.testing.assert_array_equal(reader.read(0, 0, 0, 50, 40), PICTURE)
