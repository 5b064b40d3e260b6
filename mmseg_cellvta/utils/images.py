# Copyright (c) CellVTA-MMSeg contributors.
"""Picture files and maps of ids, read strictly: a damaged one is an error.

OpenCV, which is faster, fills up truncated JPEG files with grey.
"""
from pathlib import Path

import numpy as np
from PIL import Image

COLOR_MODES = ('RGB', 'RGBA', 'L', 'LA', 'P', 'CMYK', 'YCbCr')
Image.MAX_IMAGE_PIXELS = None  # the user's own pictures may be large


def read_image(path: Path) -> np.ndarray:
    """Read a picture as uint8 (H, W, 3), RGB, 0-255; transparent pixels are white."""
    with _open(path) as image:
        # Pillow would take the upper half of 16-bit RGB, black for 12-bit cameras.
        raw_modes = ' '.join(str(tile.args) for tile in image.tile[:1])
        if image.mode not in COLOR_MODES or ';16' in raw_modes:
            raise ValueError(f'{path}: of the kind {image.mode}; expected RGB with 8 '
                             'bits per channel; export it so')
        _decode(path, image)
        if not image.has_transparency_data:
            return np.asarray(image.convert('RGB'))
        white = Image.new('RGBA', image.size, 'white')
        white.alpha_composite(image.convert('RGBA'))
        return np.asarray(white.convert('RGB'))


def read_image_size(path: Path) -> tuple[int, int]:
    """(height, width) px, without decoding the picture."""
    with _open(path) as image:
        return image.height, image.width


def read_id_image(path: Path) -> np.ndarray:
    """Read a picture of ids, (H, W) of any dtype; colours of a palette do not count."""
    with _open(path) as image:
        ids = np.asarray(_decode(path, image))
    if ids.ndim != 2:
        raise ValueError(f'{path}: {ids.shape[2]} channels; expected one channel of '
                         'ids, 8 or 16 bits')
    return ids


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except OSError as error:
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such file') from error
        raise ValueError(f'{path}: not a readable picture ({error}); expected png, jpg '
                         'or tif') from error


def _decode(path: Path, image: Image.Image) -> Image.Image:
    try:
        image.load()
    except Exception as error:  # Pillow raises many types for a damaged file
        raise ValueError(f'{path}: damaged picture ({error}); copy it again') from error
    return image
