# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from PIL import ExifTags, Image
from slide_files import color_field

from mmseg_cellvta.slides import ImageReader

IMAGE = color_field(40, 50)


@pytest.mark.parametrize(('dpi', 'mpp'), [
    (None, None), (50800, 0.5), (96, None), (300, None)])
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_resolution_of_a_microscope_is_taken(tmp_path, suffix, dpi, mpp):
    path = tmp_path / f'a{suffix}'
    Image.fromarray(IMAGE).save(path, **(dict(dpi=(dpi, dpi)) if dpi else {}))
    assert ImageReader(path).mpp == (mpp and pytest.approx(mpp, rel=1e-3))


@pytest.mark.parametrize(('orientation', 'sizes'), [
    (1, '0.5 µm wide and 1 µm'), (3, '0.5 µm wide and 1 µm'),
    (6, '1 µm wide and 0.5 µm')])
@pytest.mark.parametrize('suffix', ['.jpg', '.tif'])
def test_pixels_that_are_not_square_need_their_size(
        tmp_path, suffix, orientation, sizes):
    path = tmp_path / f'a{suffix}'
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(IMAGE).save(path, dpi=(50800, 25400), exif=exif)
    with pytest.raises(ValueError, match=f'a{suffix}: its pixels are {sizes}'):
        ImageReader(path)
    assert ImageReader(path, mpp=0.5).mpp == 0.5


@pytest.mark.parametrize('array', [
    IMAGE[..., 0], IMAGE / 255, IMAGE.astype(np.uint16), IMAGE[:0]])
def test_other_arrays_are_refused(array):
    with pytest.raises(ValueError, match=r'array: shape \(.*expected an RGB image'):
        ImageReader(array)


def test_what_was_read_may_be_changed():
    reader = ImageReader(IMAGE.copy())
    reader.read(0, 0, 0, 50, 40)[:] = 0
    np.testing.assert_array_equal(reader.read(0, 0, 0, 50, 40), IMAGE)
