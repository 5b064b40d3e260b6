# Copyright (c) CellVTA-MMSeg contributors.
import importlib.util
import os
import warnings
from multiprocessing.pool import ThreadPool
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from rich.progress import Progress

from mmseg_cellvta.conversion.custom import convert_custom
from mmseg_cellvta.conversion.writers import Tiling
from mmseg_cellvta.datasets.transforms import LoadCellAnnotations, LoadCellImage
from mmseg_cellvta.slides import open_slide
from mmseg_cellvta.utils import images
from mmseg_cellvta.utils.images import (
    read_id_image,
    read_image,
    read_image_size,
    write_image,
)

CLASSES, ORIENTATION = ['background', 'nucleus'], 274  # tag of EXIF and TIFF
# How an image that is stored with each EXIF orientation is turned upright.
TURNS = {
    1: lambda array: array,
    2: np.fliplr,
    3: lambda array: np.rot90(array, 2),
    4: np.flipud,
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: np.rot90(array, -1),
    7: lambda array: np.rot90(array, 2).swapaxes(0, 1),
    8: lambda array: np.rot90(array, 1)}

Y, X = np.mgrid[:30, :44]
RGB = np.stack([5 * X, 8 * Y, 3 * (X + Y)], -1).astype(np.uint8)
ALPHA = (255 - 5 * X).astype(np.uint8)
ON_WHITE = np.rint(255 - (255.0 - RGB) * ALPHA[..., None] / 255)
GREY = np.repeat(RGB[..., 2:], 3, 2)
GREY_ON_WHITE = np.rint(255 - (255.0 - GREY) * ALPHA[..., None] / 255)
TWELVE_BITS = RGB.astype(np.uint16) * 16 + 7


def pil(array: np.ndarray, mode: str | None = None, **options):
    image = Image.fromarray(array)
    return lambda path: (image.convert(mode) if mode else image).save(path, **options)


def turned(orientation: int, array: np.ndarray = RGB, **options):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return pil(array, exif=exif, **options)


def palette(path: Path, **options) -> None:
    image = Image.fromarray(RGB[..., 2] % 4, 'L').convert('P')
    image.putpalette([200, 120, 10, 0, 90, 250, 10, 20, 30, 77, 88, 99])
    image.save(path, **options)


def tif(array: np.ndarray, **options):
    return lambda path: tifffile.imwrite(path, array, **options)


def cv(array: np.ndarray):
    return lambda path: cv2.imwrite(str(path), array)


PALETTE = np.array([(200, 120, 10), (0, 90, 250), (10, 20, 30), (77, 88, 99)])
CLEAR = np.array([(200, 120, 10), (255, 255, 255), (10, 20, 30), (77, 88, 99)])
# name: (writer, pixels or refusal); JPEG differs by a few levels.
KINDS = {
    **{f'turned {n}.jpg': (turned(n, quality=98, subsampling=0), TURNS[n](RGB))
       for n in TURNS},
    **{f'turned {n}.tif': (turned(n), TURNS[n](RGB)) for n in TURNS},
    'turned.png': (turned(6), TURNS[6](RGB)),
    'turned, compressed.tif': (turned(6, compression='tiff_lzw'), TURNS[6](RGB)),
    'turned grey.tif': (turned(6, GREY[..., 0]), TURNS[6](GREY)),
    'turned RGBA.tif': (turned(6, np.dstack([RGB, ALPHA])), TURNS[6](ON_WHITE)),
    'turned by XMP.tif': (
        tif(RGB, photometric='rgb', extratags=[
            (700, 'B', 30, b'<x tiff:Orientation="6"></x>\0\0', True)]),
        TURNS[6](RGB)),
    'broken EXIF.png': (pil(RGB, exif=b'Exif\0\0broken'), RGB),
    'RGBA.png': (pil(np.dstack([RGB, ALPHA])), ON_WHITE),
    'RGBA.tif': (pil(np.dstack([RGB, ALPHA])), ON_WHITE),
    'LA.png': (pil(np.dstack([GREY[..., 0], ALPHA]), 'LA'), GREY_ON_WHITE),
    'transparent colour.png': (pil(GREY[..., 0], transparency=30), np.where(
        GREY == 30, 255, GREY)),
    'palette.png': (palette, PALETTE[RGB[..., 2] % 4]),
    'transparent palette.png': (lambda path: palette(
        path, transparency=b'\xff\0\xff\xff'), CLEAR[RGB[..., 2] % 4]),
    'CMYK.jpg': (pil(RGB, 'CMYK', quality=98, subsampling=0), RGB),
    'CMYK.tif': (pil(RGB, 'CMYK'), RGB),
    'grey.png': (pil(GREY[..., 0]), GREY),
    'grey.jpg': (pil(GREY[..., 0], quality=98), GREY),
    'planes.tif': (tif(RGB.transpose(2, 0, 1).copy(), photometric='rgb',
                       planarconfig='separate'), RGB),
    '16 bit grey.png': (cv(TWELVE_BITS[..., 0] * 16), '16 bits per channel'),
    '16 bit grey.tif': (tif(TWELVE_BITS[..., 0] * 16), '16 bits per channel'),
    '16 bit RGB.png': (cv(TWELVE_BITS * 16), '16 bits per channel'),
    '16 bit RGB.tif': (tif(TWELVE_BITS * 16, photometric='rgb'), '16 bits per channel'),
    '12 in 16 bit.png': (cv(TWELVE_BITS), '16 bits per channel'),
    '12 in 16 bit.tif': (
        tif(TWELVE_BITS, photometric='rgb', compression='deflate'),
        '16 bits per channel'),
    '16 bit planes.tif': (
        tif(TWELVE_BITS.transpose(2, 0, 1).copy(), photometric='rgb',
            planarconfig='separate'), '16 bits per channel'),
    'float.tif': (tif(GREY[..., 0] / np.float32(255)), '32 bits per channel'),
    'black and white.png': (pil(RGB, '1'), 'colour mode 1'),
}


def load_sample(path: Path) -> dict:
    """Runs the first transforms of every data set, which compare image and labels."""
    labels = path.parents[1] / 'Labels/a.npy'
    return LoadCellAnnotations()(LoadCellImage()(
        dict(img_path=str(path), label_path=str(labels), num_classes=2)))


def by_data_set(path: Path) -> np.ndarray:
    return load_sample(path)['img'][..., ::-1]


def by_converter(path: Path) -> np.ndarray:
    source = path.parents[2]
    with Progress(disable=True) as progress:
        convert_custom(source, source / 'out', CLASSES, 0.5, Tiling(), None, progress)
    return cv2.imread(str(source / f'out/Images/{path.stem}.png'))[..., ::-1]


def by_slide(path: Path) -> np.ndarray:
    reader = open_slide(path)
    return reader.read(0, 0, 0, *reader.shape[::-1])


def folder_with(path: Path, label_shape: tuple[int, int]) -> Path:
    """Makes a source of the converter with the labels of one image."""
    labels = np.zeros((*label_shape, 2), np.int32)
    labels[4:14, 20:28] = 1
    for name in ('Images', 'Labels'):
        (path / f'train/{name}').mkdir(parents=True)
    np.save(path / 'train/Labels/a.npy', labels)
    return path / 'train/Images'


@pytest.mark.parametrize('name', KINDS)
def test_every_way_gives_the_same_pixels_or_refusal(tmp_path, name):
    write, expected = KINDS[name]
    refused = isinstance(expected, str)
    shape = RGB.shape[:2] if refused else expected.shape[:2]
    path = folder_with(tmp_path, shape) / f'a{Path(name).suffix}'
    write(path)
    found = []
    for way in (read_image, by_data_set, by_converter, by_slide):
        if not refused:
            found.append(way(path))
            np.testing.assert_array_equal(found[-1], found[0], err_msg=way.__name__)
            continue
        with pytest.raises(ValueError) as caught:
            way(path)
        assert str(caught.value).split(f'{path.name}: ')[1] == (
            f'{expected}; expected RGB or grey with 8 bits per channel; export it so')
    if not refused:
        assert found[0].dtype == np.uint8 and read_image_size(path) == shape
        tolerance = 8 if path.suffix == '.jpg' else 1
        np.testing.assert_allclose(found[0].astype(int), expected, atol=tolerance)


def test_labels_of_a_turned_square_image_are_those_of_the_upright_one(tmp_path):
    folder = folder_with(tmp_path, (32, 32))
    upright = np.full((32, 32, 3), 230, np.uint8)
    upright[4:14, 20:28] = 60
    turned(6, np.rot90(upright).copy())(folder / 'a.jpg')
    sample = load_sample(folder / 'a.jpg')
    np.testing.assert_array_equal(sample['img'][..., 0] < 150, sample['gt_inst_map'])


def test_image_of_a_stack(tmp_path):
    np.save(tmp_path / 'images.npy', np.stack([RGB, 255 - RGB]))
    np.testing.assert_array_equal(read_image(tmp_path / 'images.npy', 1), 255 - RGB)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif'])
@pytest.mark.parametrize('read', [read_image, read_id_image])
def test_truncated_file_is_named(tmp_path, suffix, read):
    path = tmp_path / f'a{suffix}'
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    cv2.imwrite(str(path), noise)
    path.write_bytes(path.read_bytes()[:30000])
    with pytest.raises(ValueError, match=f'a{suffix}: (damaged|not a readable)'):
        read(path)


@pytest.mark.parametrize('read', [read_image, read_id_image, read_image_size])
def test_missing_file_and_other_content_are_named(tmp_path, read):
    with pytest.raises(FileNotFoundError, match='a.png: no such file'):
        read(tmp_path / 'a.png')
    (tmp_path / 'b.png').write_text('no image')
    with pytest.raises(ValueError, match='b.png: not a readable image'):
        read(tmp_path / 'b.png')


@pytest.mark.parametrize('write', [
    pil(RGB), tif(RGB, photometric='rgb'),
    tif(RGB, photometric='rgb', compression='deflate')])
def test_large_images_are_read_and_the_limit_of_pillow_stays(
        tmp_path, monkeypatch, write):
    write(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    spec = importlib.util.spec_from_file_location(
        'mmseg_cellvta.utils.imported_anew', images.__file__)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert Image.MAX_IMAGE_PIXELS == 10
    with warnings.catch_warnings(), ThreadPool(8) as pool:
        warnings.simplefilter('error')
        for image in pool.map(read_image, [tmp_path / 'a.png'] * 40):
            np.testing.assert_array_equal(image, RGB)
        with pytest.raises(FileNotFoundError):
            read_image(tmp_path / 'none.png')
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize(('suffix', 'dtype'), [
    ('.png', np.uint8), ('.png', np.uint16), ('.tif', np.uint8), ('.tif', np.uint16),
    ('.tif', np.int32), ('.tif', np.float32)])
def test_ids_keep_their_values(tmp_path, suffix, dtype):
    ids = np.arange(12).reshape(3, 4).astype(dtype) * (20 if dtype == np.uint8 else 500)
    cv2.imwrite(str(tmp_path / f'a{suffix}'), ids)
    assert (read_id_image(tmp_path / f'a{suffix}') == ids).all()


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_ids_are_turned_as_images_are(tmp_path, suffix):
    ids = np.arange(12, dtype=np.uint16).reshape(3, 4) * 500
    turned(6, ids)(tmp_path / f'a{suffix}')
    np.testing.assert_array_equal(
        read_id_image(tmp_path / f'a{suffix}'), TURNS[6](ids))


def test_ids_of_an_image_with_a_palette_are_its_indices(tmp_path):
    palette(tmp_path / 'a.png')
    np.testing.assert_array_equal(
        read_id_image(tmp_path / 'a.png'), RGB[..., 2] % 4)


def test_ids_in_three_channels_are_refused(tmp_path):
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    with pytest.raises(ValueError, match='a.png: 3 channels; expected one channel'):
        read_id_image(tmp_path / 'a.png')


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_folders_whose_names_are_not_utf_8_get_images(tmp_path, suffix):
    folder = tmp_path / os.fsdecode('caf\u00e9'.encode('latin-1'))
    folder.mkdir()
    write_image(folder / f'a{suffix}', np.full((4, 5, 3), (9, 99, 199), np.uint8))
    assert read_image(folder / f'a{suffix}').tolist()[0][0] == pytest.approx(
        [9, 99, 199], abs=3)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OSError, match='No such file or directory.*none/a.png'):
        write_image(tmp_path / 'none/a.png', np.zeros((4, 5, 3), np.uint8))
