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
from typing import NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH

from .files import UnreadableError, named_errors, open_npy
from .tiff_rules import TiffImage, find_tiff_image, is_tiff

COLOR_MODES = ('RGB', 'RGBA', 'L', 'LA', 'P', 'CMYK', 'YCbCr')
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap rows and columns
UM_PER_INCH = 25400


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
            mode, or a TIFF file holds several; see `tiff_rules`.
    """
    if index is not None:
        return np.array(open_npy(str(path))[index])
    with _open(path) as (image, tiff):
        if tiff is not None:
            tiff.check_pixels()
        _check_mode(path, image)
        image = _decode(path, image)
        if image.has_transparency_data:
            white = Image.new('RGBA', image.size, 'white')
            white.alpha_composite(image.convert('RGBA'))
            image = white
        return np.asarray(image if image.mode == 'RGB' else image.convert('RGB'))


def read_image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Returns (height, width), px, of the upright image, without decoding it."""
    with _open(path) as (image, _):
        width, height = image.size
        if image.format == 'TIFF':  # Pillow may have swapped its size already
            width, height = (image.tag_v2[tag] for tag in (IMAGEWIDTH, IMAGELENGTH))
        return (width, height) if _orientation(image) in SIDEWAYS else (height, width)


class ImageFacts(NamedTuple):
    """What an image file states beside its pixels.

    Attributes:
        mpp: Width and height of a pixel of the upright image, µm, which may be that of
            a screen's 72 dpi; None if not stated.
        objective: Magnification; None if not stated.
        remark: Which images of a TIFF file are left out, a sentence; None if none.
    """

    mpp: tuple[float, float] | None
    objective: float | None = None
    remark: str | None = None


def read_image_facts(path: str | os.PathLike) -> ImageFacts:
    """Reads what an image file states, without decoding it."""
    with _open(path) as (image, tiff):
        if tiff is None:
            dpi = [float(value) for value in image.info.get('dpi', (0, 0))]
            mpp = tuple(UM_PER_INCH / value for value in dpi) if min(dpi) > 0 else None
            facts = ImageFacts(mpp)
        else:
            facts = ImageFacts(tiff.mpp, tiff.objective, tiff.remark)
        if facts.mpp and _orientation(image) in SIDEWAYS:
            facts = facts._replace(mpp=facts.mpp[::-1])
        return facts


def read_id_image(path: str | os.PathLike) -> np.ndarray:
    """Reads an image of ids: (H, W) of any dtype; of a palette, the indices.

    Raises:
        FileNotFoundError: When there is no such file.
        UnreadableError: When the file is damaged or no image.
        ValueError: When the image has several channels or pages.
    """
    with _open(path) as (image, _):
        with _damage(path):
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
    # OpenCV crashes on paths that are not UTF-8, and does not say why it cannot write.
    _, content = cv2.imencode(Path(path).suffix, image[..., ::-1])
    with named_errors(Path(path)):
        Path(path).write_bytes(content)


@contextmanager
def _open(path: str | os.PathLike) -> Iterator[tuple[Image.Image, TiffImage | None]]:
    """Lends an image that is not decoded yet and, of TIFF, the image that counts."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file')
    tiff = find_tiff_image(path) if is_tiff(path) else None
    # Pillow would map a path into memory, and mix up the rows of grey TIFF files that
    # are stored sideways.
    with _no_pixel_limit(), open(path, 'rb') as file:
        try:
            image = Image.open(file)
        except Exception as error:  # Pillow raises many types for a damaged file
            if tiff is not None:
                tiff.check_pixels()
            unknown = isinstance(error, UnidentifiedImageError)
            raise UnreadableError(
                f'{path}: not a readable image{"" if unknown else f" ({error})"}; '
                'expected png, jpg or tif with 8 bits per channel') from error
        if tiff is not None:
            if tiff.page is None:
                raise UnreadableError(
                    f'{path}: its image lies below another page; export it anew')
            with _damage(path):
                image.seek(tiff.page)
        yield image, tiff


@contextmanager
def _damage(path: str | os.PathLike) -> Iterator[None]:
    """Names the file in errors of Pillow, which are of many types."""
    try:
        yield
    except Exception as error:
        raise UnreadableError(
            f'{path}: damaged image ({error}); copy it again') from error


def _check_mode(path: str | os.PathLike, image: Image.Image) -> None:
    """Refuses all but colours and grey of 8 bits per channel.

    Pillow would keep the upper 8 of 16 bits, in which the 12 bits of many cameras are
    almost black.
    """
    bits = 16 if f'{image.mode.removesuffix(";16")};16' in str(image.tile[:1]) else 8
    if image.mode not in COLOR_MODES or bits > 8:
        found = f'{bits} bits per channel' if bits > 8 else f'colour mode {image.mode}'
        raise ValueError(f'{path}: {found}; expected RGB or grey with 8 bits per '
                         'channel; export it so')


def _decode(path: str | os.PathLike, image: Image.Image) -> Image.Image:
    """Decodes an image and turns it upright."""
    with _damage(path):
        image.load()
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
