# Copyright (c) CellVTA-MMSeg contributors.
"""Picture files and maps of ids, read strictly: a damaged one is an error.

OpenCV, which is faster, fills up truncated JPEG files with grey.
"""
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

COLOR_MODES = ('RGB', 'RGBA', 'L', 'LA', 'P', 'CMYK', 'YCbCr')
Image.MAX_IMAGE_PIXELS = None  # the user's own pictures may be large


@dataclass(frozen=True)
class LabelledPicture:
    """A picture to convert, and where its labels are.

    Attributes:
        name (str): Name in the converted data set.
        img_path (Path): The picture.
        label_path (Path): The labels.
        class_path (Path, optional): Map of classes, where it is a file of its own.
        part (str): Part of the data set, such as 'train'.
    """
    name: str
    img_path: Path
    label_path: Path
    class_path: Path | None = None
    part: str = ''

    @property
    def files(self) -> list[Path]:
        """Every file that it is read from."""
        paths = (self.img_path, self.label_path, self.class_path)
        return [path for path in paths if path is not None]


def read_picture(path: Path) -> np.ndarray:
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


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) px, without decoding the picture."""
    with _open(path) as image:
        return image.height, image.width


def read_id_picture(path: Path) -> np.ndarray:
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
