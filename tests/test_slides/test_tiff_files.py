# Copyright (c) CellVTA-MMSeg contributors.
"""The same rules for every layout of TIFF and every reader."""
import numpy as np
import pytest
import tifffile
from slide_files import color_field, halve

from mmseg_cellvta.slides import ImageReader, SlideCanvas, open_slide
from mmseg_cellvta.utils.images import read_id_image

IMAGE = color_field(300, 420)
GREY = IMAGE[..., 0]
ALPHA = np.tile(np.linspace(0, 255, 420).astype(np.uint8), (300, 1))
ON_WHITE = 255 - (255.0 - IMAGE) * ALPHA[..., None] / 255
PLANES = IMAGE.transpose(2, 0, 1).copy()
TILES = dict(tile=(128, 128))
RGB = dict(photometric='rgb')
LAYOUTS = {
    'stripped': {}, 'tiled': TILES, 'OME': dict(ome=True),
    'tiled OME': dict(ome=True, compression='deflate', **TILES)}


@pytest.fixture(params=['any', 'tiffslide', 'image'])
def open_with(request):
    """Opens a file as usual, or with one of the readers that need no OpenSlide."""
    if request.param == 'any':
        return open_slide
    if request.param == 'image':
        return ImageReader

    def open_first(path, **options):
        module = pytest.importorskip('mmseg_cellvta.slides.tiffslide_reader')
        try:
            return module.TiffSlideReader(path, **options)
        except module.UnreadableError:
            return ImageReader(path, **options)
    return open_first


def write(path, *images, ome=False, **options):
    with tifffile.TiffWriter(path, ome=ome) as tiff:
        for image in images:
            image, own = image if isinstance(image, tuple) else (image, {})
            if not ome:
                own = {'metadata': None, **own}
            tiff.write(image, **{**options, **own})
    return path


def read_whole(reader):
    return reader.read(0, 0, 0, *reader.shape[::-1])


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize(('pixels', 'options', 'expected'), [
    (IMAGE, RGB, IMAGE),
    (PLANES, dict(RGB, planarconfig='separate'), IMAGE),
    (GREY, dict(photometric='minisblack'), np.dstack([GREY] * 3)),
    (GREY, dict(photometric='miniswhite'), 255 - np.dstack([GREY] * 3)),
    (np.dstack([IMAGE, ALPHA]), dict(RGB, extrasamples=['unassalpha']), ON_WHITE),
    (np.dstack([(IMAGE * (ALPHA[..., None] / 255)).astype(np.uint8), ALPHA]),
     dict(RGB, extrasamples=['assocalpha']), ON_WHITE),
    (np.dstack([IMAGE, ALPHA]), dict(RGB, extrasamples=['unspecified']), IMAGE),
], ids=['RGB', 'planes', 'grey', 'inverted grey', 'alpha', 'premultiplied', 'RGBX'])
def test_pixels_do_not_depend_on_layout_or_reader(
        tmp_path, open_with, layout, pixels, options, expected):
    path = write(tmp_path / 'a.tif', pixels, **options, **LAYOUTS[layout])
    reader = open_with(path)
    assert reader.shape == (300, 420)
    tolerance = 2 if 'extrasamples' in options else 0
    np.testing.assert_allclose(
        read_whole(reader).astype(int), expected, atol=tolerance)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize(('pixels', 'options', 'found'), [
    (IMAGE.astype(np.uint16) * 16, RGB, '16 bits per channel'),
    (GREY.astype(np.uint16) * 200, dict(photometric='minisblack'), '16 bits per'),
    (IMAGE.astype(np.float32) / 255, RGB, '32 bits per channel'),
    (IMAGE.astype(np.int8), RGB, 'values with sign or fraction'),
    (np.dstack([IMAGE, IMAGE]), dict(
        RGB, extrasamples=['unspecified'] * 3), '6 channels'),
], ids=['12 in 16 bits', 'grey', 'float', 'signed', 'channels'])
def test_other_bits_and_channels_are_refused(
        tmp_path, open_with, layout, pixels, options, found):
    path = write(tmp_path / 'a.tif', pixels, **options, **LAYOUTS[layout])
    with pytest.raises(ValueError, match=f'a.tif: {found}.*; expected RGB or grey with '
                                         '8 bits per channel; export it so'):
        open_with(path)


@pytest.mark.parametrize('tiles', [{}, TILES])
@pytest.mark.parametrize('orientation', [2, 3, 6])
def test_orientation_is_applied(tmp_path, open_with, tiles, orientation):
    path = write(tmp_path / 'a.tif', IMAGE, **RGB, **tiles,
                 extratags=[(274, 'H', 1, orientation, True)])
    turns = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 6: lambda a: np.rot90(a, -1)}
    np.testing.assert_array_equal(
        read_whole(open_with(path)), turns[orientation](IMAGE))


@pytest.mark.parametrize('tiles', [{}, TILES])
@pytest.mark.parametrize('ome', [False, True])
def test_stacks_are_refused(tmp_path, open_with, tiles, ome):
    path = write(tmp_path / 'a.tif', np.stack([IMAGE, IMAGE, 255 - IMAGE]), ome=ome,
                 **RGB, **tiles)
    with pytest.raises(ValueError, match=r'a.tif: 3 planes .*420 x 300 px; expected '
                                         'one; export the one that is meant'):
        open_with(path)


def test_channels_in_pages_of_their_own_are_refused(tmp_path, open_with):
    path = write(tmp_path / 'a.tif', PLANES, ome=True, photometric='minisblack',
                 metadata=dict(axes='CYX'))
    with pytest.raises(ValueError, match=r'a.tif: 3 planes \(C 3\)'):
        open_with(path)


def test_stack_of_imagej_is_refused(tmp_path, open_with):
    """ImageJ describes its planes in one page where they follow each other."""
    tifffile.imwrite(tmp_path / 'a.tif', np.stack([GREY, GREY]), imagej=True,
                     metadata=dict(axes='ZYX'))
    with pytest.raises(ValueError, match=r'a.tif: 2 planes \(Z 2\)'):
        open_with(tmp_path / 'a.tif')


LABEL = np.zeros((100, 100, 3), np.uint8)


@pytest.mark.parametrize('tiles', [{}, TILES])
@pytest.mark.parametrize('ome', [False, True])
@pytest.mark.parametrize('label', [
    LABEL, LABEL[..., 0], (np.zeros((300, 420), np.uint8), {})],
    ids=['small', 'small grey', 'grey mask'])
@pytest.mark.parametrize('first', [False, True])
def test_the_slide_is_found_among_other_images(
        tmp_path, open_with, tiles, ome, label, first):
    label, _ = label if isinstance(label, tuple) else (label, {})
    photometric = 'rgb' if label.ndim == 3 else 'minisblack'
    images = [(label, dict(photometric=photometric)), (IMAGE, RGB)]
    reader = open_with(write(
        tmp_path / 'a.tif', *(images if first else images[::-1]), ome=ome, **tiles))
    np.testing.assert_array_equal(read_whole(reader), IMAGE)
    assert len(reader.remarks) == (label.ndim == 3)
    assert all('the largest of 2 images' in text for text in reader.remarks)


@pytest.mark.parametrize('tiles', [{}, TILES])
def test_a_larger_macro_is_no_slide(tmp_path, open_with, tiles):
    macro = np.zeros((600, 600, 3), np.uint8)
    images = [(macro, dict(metadata=dict(Name='macro image'))),
              (IMAGE, dict(metadata=dict(Name='scan')))]
    reader = open_with(write(tmp_path / 'a.ome.tif', *images, ome=True, **RGB, **tiles))
    np.testing.assert_array_equal(read_whole(reader), IMAGE)
    assert reader.remarks == ()


@pytest.mark.parametrize('tiles', [{}, TILES])
@pytest.mark.parametrize('ome', [False, True])
def test_images_of_similar_size_are_refused(tmp_path, open_with, tiles, ome):
    path = write(tmp_path / 'a.tif', IMAGE, IMAGE[:270], ome=ome, **RGB, **tiles)
    with pytest.raises(ValueError, match='a.tif: 2 images, 420 x 300 px and 420 x 270 '
                                         'px; expected one'):
        open_with(path)


@pytest.mark.parametrize('ome', [False, True])
def test_levels_are_no_images_of_their_own(tmp_path, open_with, ome):
    half = halve(IMAGE)
    with tifffile.TiffWriter(tmp_path / 'a.tif', ome=ome) as tiff:
        tiff.write(IMAGE, subifds=2 * ome, **RGB, **TILES)
        for level in (half, halve(half)):
            tiff.write(level, subfiletype=1, metadata=None, **RGB, **TILES)
    reader = open_with(tmp_path / 'a.tif')
    np.testing.assert_array_equal(read_whole(reader), IMAGE)
    assert reader.remarks == () and len(reader.level_shapes) == (
        3 if reader.is_slide else 1)


@pytest.mark.parametrize('tiles', [{}, TILES])
@pytest.mark.parametrize('shape', [(250, 400), (60, 200)])
def test_a_thumbnail_is_neither_image_nor_level(tmp_path, open_with, tiles, shape):
    small = (np.zeros((*shape, 3), np.uint8), dict(subfiletype=1))
    reader = open_with(write(tmp_path / 'a.tif', IMAGE, small, **RGB, **tiles))
    np.testing.assert_array_equal(read_whole(reader), IMAGE)
    assert reader.remarks == () and len(reader.level_shapes) == 1


OME = ('<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/'
       '2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" '
       'Type="uint8" SizeX="420" SizeY="300" SizeC="3" SizeZ="1" SizeT="1" {sizes}>'
       '<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData/></Pixels></Image>'
       '</OME>')


def ome_xml(size, unit):
    sizes = f'PhysicalSizeX="{size}" PhysicalSizeY="{size}"'
    if unit:
        sizes += f' PhysicalSizeXUnit="{unit}" PhysicalSizeYUnit="{unit}"'
    return OME.format(sizes=sizes)


@pytest.mark.parametrize('tiles', [{}, TILES])
@pytest.mark.parametrize(('size', 'unit', 'mpp'), [
    (0.5, None, 0.5), (0.5, '\u00b5m', 0.5), (0.5, '\u03bcm', 0.5), (0.5, 'um', 0.5),
    (500, 'nm', 0.5), (0.0005, 'mm', 0.5), (0.00005, 'cm', 0.5), (5e-7, 'm', 0.5),
    (0.5 / 25400, 'in', 0.5), (0.5, 'Mm', None), (0.5, 'pixel', None),
    (0.5, 'reference frame', None)])
def test_units_of_ome(tmp_path, open_with, tiles, size, unit, mpp):
    path = write(tmp_path / 'a.tif', IMAGE, **RGB, **tiles,
                 description=ome_xml(size, unit).encode())
    assert open_with(path).mpp == (mpp and pytest.approx(mpp))


@pytest.mark.parametrize('end', ['\n', '\n\n \0'])
def test_what_follows_the_xml_does_not_matter(tmp_path, open_with, end):
    """OpenSlide would read such a file, but not its levels."""
    path = write(tmp_path / 'a.tif', IMAGE, **RGB, **TILES,
                 description=(ome_xml(0.5, 'um') + end).encode())
    reader = open_with(path)
    assert reader.mpp == 0.5 and type(reader).__name__ != 'OpenSlideReader'


def test_size_of_the_image_that_counts(tmp_path, open_with):
    images = [(LABEL, dict(metadata=dict(PhysicalSizeX=2, PhysicalSizeY=2))),
              (IMAGE, dict(metadata=dict(PhysicalSizeX=0.25, PhysicalSizeY=0.25)))]
    assert open_with(write(
        tmp_path / 'a.ome.tif', *images, ome=True, **RGB, **TILES)).mpp == 0.25


@pytest.mark.parametrize('tiles', [{}, TILES])
@pytest.mark.parametrize(('text', 'per_unit', 'resolution_unit', 'mpp'), [
    ('unit=um', 2, 1, 0.5), ('unit=\\u00B5m', 2, 1, 0.5), ('unit=micron', 2, 1, 0.5),
    ('unit=nm', 0.002, 1, 0.5), ('unit=mm', 2000, 1, 0.5), ('unit=cm', 20000, 3, 0.5),
    ('unit=inch', 50800, 2, 0.5), ('unit=um', 20000, 3, 0.5),
    ('unit=pixel', 2, 1, None), ('images=1', 2, 1, None), ('images=1', 20000, 3, 0.5)])
def test_units_of_imagej(tmp_path, open_with, tiles, text, per_unit, resolution_unit,
                         mpp):
    path = write(tmp_path / 'a.tif', IMAGE, **RGB, **tiles,
                 description=f'ImageJ=1.53t\n{text}\n', software=False,
                 resolution=(per_unit, per_unit), resolutionunit=resolution_unit)
    assert open_with(path).mpp == (mpp and pytest.approx(mpp))


@pytest.mark.parametrize('tiles', [{}, TILES])
@pytest.mark.parametrize(('per_unit', 'unit', 'mpp'), [
    (20000, 3, 0.5), (50800, 2, 0.5), (20000, 1, None), (72, 2, None)])
def test_resolution_tags(tmp_path, open_with, tiles, per_unit, unit, mpp):
    path = write(tmp_path / 'a.tif', IMAGE, **RGB, **tiles,
                 resolution=(per_unit, per_unit), resolutionunit=unit)
    assert open_with(path).mpp == (mpp and pytest.approx(mpp))


APERIO = 'Aperio Image Library v10\r\n420x300 (128x128) JPEG/RGB Q=70|AppMag = {}'


@pytest.mark.parametrize(('description', 'objective'), [
    (APERIO.format(20), 20), (APERIO.format('40'), 40), (APERIO.format(''), None),
    ('Scan|AppMag = 20', 20), (OME.format(sizes='').replace(
        '<Image', '<Instrument ID="Instrument:0"><Objective ID="Objective:0:0" '
        'NominalMagnification="20.0"/></Instrument><Image', 1), 20)])
def test_objective_is_quoted_where_the_size_is_missing(
        tmp_path, open_with, description, objective):
    path = write(tmp_path / 'a.tif', IMAGE, **RGB, **TILES, compression='jpeg',
                 description=description.encode())
    reader = open_with(path)
    assert reader.mpp is None and reader.objective == objective
    expected = f'states a {objective}x objective' if objective else 'give it with --mpp'
    with pytest.raises(ValueError, match=f'a.tif: .*not known.*{expected}'):
        SlideCanvas(reader, 0.25)


def test_ids_of_a_stack_are_refused(tmp_path):
    path = write(tmp_path / 'a.tif', np.zeros((2, 30, 40), np.uint16),
                 photometric='minisblack')
    with pytest.raises(ValueError, match='a.tif: 2 planes'):
        read_id_image(path)
