# Copyright (c) CellVTA-MMSeg contributors.
"""What all readers share, with each kind of file."""
import multiprocessing
import pickle

import numpy as np
import pytest
from PIL import Image
from slide_files import color_field, halve, write_slide

from mmseg_cellvta.slides import ImageReader, open_slide
from mmseg_cellvta.slides.reader import white_where_transparent
from mmseg_cellvta.utils.pixel_size import square_mpp

IMAGE = color_field(301, 417)
KINDS = {'.tif': 'OpenSlideReader', '.ome.tif': 'TiffSlideReader',
         '.png': 'ImageReader', '.plain.tif': 'ImageReader'}


@pytest.fixture(params=KINDS)
def path(request, tmp_path):
    path = tmp_path / f'a{request.param}'
    if KINDS[request.param] == 'ImageReader':
        Image.fromarray(IMAGE).save(path)
        return path
    pytest.importorskip('openslide' if request.param == '.tif' else 'tiffslide')
    return write_slide(path, IMAGE, levels=3, ome=request.param == '.ome.tif')


def test_reader_is_that_of_the_kind_of_file(path):
    reader = open_slide(path)
    assert type(reader).__name__ == KINDS[path.name[1:]]
    assert reader.is_slide == (KINDS[path.name[1:]] != 'ImageReader')
    assert reader.shape == (301, 417)
    if reader.is_slide:
        assert reader.mpp == pytest.approx(0.5, rel=1e-4)
        assert reader.level_shapes == ((301, 417), (150, 208), (75, 104))
        assert reader.level_downsamples == (1.0, 2.0, 4.0)


@pytest.mark.parametrize('rectangle', [
    (0, 0, 417, 301), (100, 60, 50, 70), (-20, -30, 60, 50), (400, 290, 64, 32),
    (500, 0, 8, 9)])
def test_file_reads_as_the_array_with_white_around(path, rectangle):
    reader, x, y, width, height = open_slide(path), *rectangle
    padded = np.pad(IMAGE, ((600, 600), (600, 600), (0, 0)), constant_values=255)
    expected = padded[600 + y:600 + y + height, 600 + x:600 + x + width]
    for read in (reader.read, ImageReader(IMAGE).read):
        image = read(0, x, y, width, height)
        assert image.dtype == np.uint8 and image.flags.c_contiguous
        np.testing.assert_array_equal(image, expected)


def test_lower_levels_are_read_in_their_own_pixels(path):
    reader = open_slide(path)
    if not reader.is_slide:
        pytest.skip('images have one level')
    whole = halve(IMAGE)
    np.testing.assert_allclose(
        reader.read(1, 31, 17, 90, 80), whole[17:97, 31:121], atol=2)
    overlap = reader.read(1, 50, 40, 60, 60)
    np.testing.assert_array_equal(overlap, reader.read(1, 31, 17, 90, 90)[23:83, 19:79])


def read_corner(reader) -> np.ndarray:
    return reader.read(0, 10, 20, 30, 40)


def test_readers_work_in_forked_processes(path):
    reader = open_slide(path)
    expected = read_corner(reader)
    with multiprocessing.get_context('fork').Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(read_corner, (reader,)), expected)
    np.testing.assert_array_equal(read_corner(reader), expected)


def test_reading_goes_on_after_pickling_and_closing(path):
    reader = pickle.loads(pickle.dumps(open_slide(path)))
    expected = read_corner(reader)
    reader.close()
    np.testing.assert_array_equal(read_corner(reader), expected)


@pytest.mark.parametrize(('given', 'force', 'expected'), [
    (0.33, False, 0.5), (0.48, False, 0.48), (0.33, True, 0.33)])
def test_stated_size_of_pixels_is_kept_unless_forced(path, given, force, expected):
    reader = open_slide(path, mpp=given, force_mpp=force)
    if not reader.is_slide:  # these files state none
        expected = given
    assert reader.mpp == pytest.approx(expected, rel=1e-4)
    remark = f'{path.name}: it states 0.5 µm/px, which is kept; --mpp 0.33 needs'
    kept = expected == 0.5
    assert len(reader.remarks) == kept and all(
        text.startswith(remark) for text in reader.remarks)


@pytest.mark.parametrize(('mpp', 'problem'), [
    (0, 'above 0'), (-0.5, 'above 0'), (np.nan, 'above 0'), (0.001, 'from 0.05 to 2.5'),
    (40, '40x; is that a magnification?'), (np.inf, 'is that a magnification?'),
    (5, 'is that a magnification?')])
@pytest.mark.parametrize('force', [False, True])
def test_sizes_that_no_microscope_has_are_refused(path, mpp, problem, force):
    with pytest.raises(ValueError, match=f'{path.name}: mpp={mpp}; expected µm/px'
                       ) as caught:
        open_slide(path, mpp=mpp, force_mpp=force)
    assert problem in str(caught.value)


@pytest.mark.parametrize(('sizes', 'expected'), [
    ((0.25, 0.25), 0.25), ((0.5, 0.51), 0.505), ((None, 0.25), None), ((0, 0), None),
    ((25400 / 72,) * 2, None), ((25400 / 300,) * 2, None), ((0.001, 0.001), None)])
def test_only_sizes_of_a_microscope_are_trusted(sizes, expected):
    assert square_mpp('a.tif', *sizes) == (expected and pytest.approx(expected))


def test_transparent_pixels_are_white():
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [5, 15, 25, 190]]], np.uint8)
    assert white_where_transparent(rgba).tolist() == [
        [[10, 20, 30], [255, 255, 255], [5, 15, 25]]]
