# Copyright (c) CellVTA-MMSeg contributors.
"""The one reader and writer of image files, for data sets, converters and slides.

Images come upright, as an image viewer shows them: the orientation in EXIF, XMP or the
TIFF tag is applied, to label images as well. Damaged files are refused, whereas OpenCV
fills up truncated JPEG files with grey.
"""
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, IMAGELENGTH, IMAGEWIDTH

from .files import open_npy

COLOR_MODES = ('RGB', 'RGBA', 'L', 'LA', 'P', 'CMYK', 'YCbCr')
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap rows and columns


class UnreadableError(ValueError):
    """A file, or a part of it, that cannot be decoded."""


def read_image(path: str | os.PathLike, index: int | None = None) -> np.ndarray:
    """Reads an image file, or one image of a `.npy` stack.

    Args:
        path: Image file (png, jpg, tif, bmp, ...), or `.npy` file that holds uint8
            (N, H, W, 3), RGB, 0-255.
        index: Number of the image in the `.npy` file; None for an image file.

    Returns:
        Pixels, uint8 (H, W, 3), RGB, 0-255, perhaps read-only. Transparent pixels are
        blended with white; grey, palettes, CMYK and YCbCr become RGB.

    Raises:
        FileNotFoundError: When there is no such file.
        UnreadableError: When the file is damaged or no image.
        ValueError: When the image has more than 8 bits per channel or an unknown colour
            mode.
    """
    if index is not None:
        return np.array(open_npy(str(path))[index])
    with _open(path) as image:
        _check_mode(path, image)
        image = _decode(path, image)
        if image.has_transparency_data:
            white = Image.new('RGBA', image.size, 'white')
            white.alpha_composite(image.convert('RGBA'))
            image = white
        return np.asarray(image if image.mode == 'RGB' else image.convert('RGB'))


def read_image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Returns (height, width), px, of the upright image, without decoding it."""
    with _open(path) as image:
        width, height = image.size
        if image.format == 'TIFF':  # Pillow may have swapped its size already
            width, height = (image.tag_v2[tag] for tag in (IMAGEWIDTH, IMAGELENGTH))
        return (width, height) if _orientation(image) in SIDEWAYS else (height, width)


def read_image_dpi(path: str | os.PathLike) -> tuple[float, float] | None:
    """Returns px per inch along x and y of the upright image; None if not stated."""
    with _open(path) as image:
        dpi_x, dpi_y = map(float, image.info.get('dpi', (0, 0)))
        if not (dpi_x > 0 and dpi_y > 0):
            return None
        return (dpi_y, dpi_x) if _orientation(image) in SIDEWAYS else (dpi_x, dpi_y)


def read_id_image(path: str | os.PathLike) -> np.ndarray:
    """Reads an image of ids: (H, W) of any dtype; of a palette, the indices.

    Raises:
        FileNotFoundError: When there is no such file.
        UnreadableError: When the file is damaged or no image.
        ValueError: When the image has several channels or pages.
    """
    with _open(path) as image:
        pages = getattr(image, 'n_frames', 1)
        if pages > 1:
            raise ValueError(f'{path}: {pages} pages; expected one, of ids')
        ids = np.asarray(_decode(path, image))
    if ids.ndim != 2:
        raise ValueError(f'{path}: {ids.shape[2]} channels; expected one channel of '
                         'ids, 8 or 16 bits')
    return ids


def write_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes an RGB image, uint8 (H, W, 3), 0-255, in the format of the suffix.

    Raises:
        OSError: When the file cannot be written.
    """
    # OpenCV crashes on paths that are not UTF-8, so that it does not get any.
    _, content = cv2.imencode(Path(path).suffix, image[..., ::-1])
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        raise OSError(f'{path}: cannot be written ({error.strerror}); is there room on '
                      'the disk?') from error


@contextmanager
def _open(path: str | os.PathLike) -> Iterator[Image.Image]:
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file')
    # Pillow would map a path into memory, and mix up the rows of grey TIFF files that
    # are stored sideways.
    with _no_pixel_limit(), open(path, 'rb') as file:
        try:
            image = Image.open(file)
        except Exception as error:  # Pillow raises many types for a damaged file
            unknown = isinstance(error, UnidentifiedImageError)
            raise UnreadableError(
                f'{path}: not a readable image{"" if unknown else f" ({error})"}; '
                'expected png, jpg or tif with 8 bits per channel') from error
        yield image


def _check_mode(path: str | os.PathLike, image: Image.Image) -> None:
    """Refuses all but colours and grey of 8 bits per channel.

    Pillow would keep the upper 8 of 16 bits, in which the 12 bits of many cameras are
    almost black.
    """
    bits = 8
    if image.format == 'TIFF':
        bits = max(image.tag_v2.get(BITSPERSAMPLE, (1,)))
    elif f'{image.mode.removesuffix(";16")};16' in str(image.tile[:1]):
        bits = 16
    if image.mode not in COLOR_MODES or bits > 8:
        found = f'{bits} bits per channel' if bits > 8 else f'colour mode {image.mode}'
        raise ValueError(f'{path}: {found}; expected RGB or grey with 8 bits per '
                         'channel; export it so')


def _decode(path: str | os.PathLike, image: Image.Image) -> Image.Image:
    """Decodes an image and turns it upright."""
    try:
        image.load()
    except Exception as error:  # Pillow raises many types for a damaged file
        raise UnreadableError(
            f'{path}: damaged image ({error}); copy it again') from error
    # Pillow turns TIFF while decoding and then states no orientation any more.
    if _orientation(image) != 1:
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1-8; 1 if EXIF is missing or damaged, as in viewers."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises many types for damaged EXIF
        return 1


class _NoPixelLimit:
    """Lifts Pillow's limit on the size of images for a while.

    The limit protects servers from strangers' images; the user's own may be large. It
    is a global of Pillow, hence threads that read at the same time are counted: the
    first one lifts the limit, the last one restores it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.readers = 0
        self.limit: int | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self.lock:
            if self.readers == 0:
                self.limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self.readers += 1
        try:
            yield
        finally:
            with self.lock:
                self.readers -= 1
                if self.readers == 0:
                    Image.MAX_IMAGE_PIXELS = self.limit


_no_pixel_limit = _NoPixelLimit()
