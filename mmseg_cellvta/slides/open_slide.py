# Copyright (c) CellVTA-MMSeg contributors.
import os
from importlib import import_module
from pathlib import Path

import numpy as np

from .image_reader import PictureReader
from .reader import SlideReader, UnreadableError

PICTURE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp')
NO_READER = ('neither OpenSlide nor tiffslide is installed; run '
             'pip install openslide-python openslide-bin tiffslide')
TIFF_SUFFIXES = ('.tif', '.tiff')  # may be either


def open_slide(source: str | os.PathLike | np.ndarray,
               mpp: float | None = None) -> SlideReader:
    """Open a picture or slide: by OpenSlide, else tiffslide, else as a picture.

    Args:
        source (str | os.PathLike | np.ndarray): File, or RGB picture (H, W, 3) uint8.
        mpp (float, optional): Size of a pixel of level 0, µm, instead of the file's.

    Returns:
        SlideReader: Reader of the whole file; its upper left corner was read once.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read.
    """
    if isinstance(source, np.ndarray):
        return PictureReader(source, mpp)
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return PictureReader(path, mpp)
    readers = _slide_readers()
    reasons = [] if readers else [NO_READER]
    if suffix in TIFF_SUFFIXES:
        readers.append(PictureReader)
    for reader_class in readers:
        try:
            reader = reader_class(path, mpp)
            reader.read(0, 0, 0, 1, 1)
            return reader
        except UnreadableError as error:
            reasons.append(str(error).removeprefix(f'{path.name}: '))
    raise UnreadableError(f'{path.name}: ' + '; '.join(dict.fromkeys(reasons)))


def _slide_readers() -> list[type[SlideReader]]:
    """Readers whose library is installed, preferred one first."""
    readers = []
    for module, name in (('openslide_reader', 'OpenSlideReader'),
                         ('tiffslide_reader', 'TiffSlideReader')):
        try:
            readers.append(getattr(import_module(f'.{module}', __package__), name))
        except ImportError:
            continue
    return readers
