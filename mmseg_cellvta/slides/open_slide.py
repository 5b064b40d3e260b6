# Copyright (c) CellVTA-MMSeg contributors.
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

from .image_reader import ImageReader
from .inputs import IMAGE_SUFFIXES, TIFF_SUFFIXES
from .reader import SlideReader, UnreadableError

NO_SLIDE_LIBRARY = ('neither OpenSlide nor tiffslide is installed; run '
                    'pip install openslide-python openslide-bin tiffslide')


def open_slide(source: str | os.PathLike | np.ndarray,
               mpp: float | None = None) -> SlideReader:
    """Opens an image or slide with the first reader that can read it.

    Slides are offered to OpenSlide, then to tiffslide; TIFF files that neither takes
    are read as plain images.

    Args:
        source: Image or slide file, or RGB image, uint8 (H, W, 3), 0-255.
        mpp: Size of a pixel of level 0, µm; None for what the file states.

    Returns:
        Reader of the whole file; its upper left corner was read once.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it cannot be read.
    """
    if isinstance(source, np.ndarray):
        return ImageReader(source, mpp)
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return ImageReader(path, mpp)
    reasons, tried = [], set()
    for reader_class in _readers(suffix):
        tried.add(reader_class)
        try:
            reader = reader_class(path, mpp)
            reader.read(0, 0, 0, 1, 1)
            return reader
        except UnreadableError as error:
            reason = str(error).removeprefix(f'{path}: ').removeprefix(f'{path.name}: ')
            reasons.append(reason)
    if tried <= {ImageReader}:
        reasons.insert(0, NO_SLIDE_LIBRARY)
    raise UnreadableError(f'{path}: ' + '; '.join(dict.fromkeys(reasons)))


def _readers(suffix: str) -> Iterator[type[SlideReader]]:
    """Yields the readers whose library is installed, the preferred one first.

    A library is imported only when those before could not read the file: tiffslide's
    imports take a second.
    """
    for module, name in (('openslide_reader', 'OpenSlideReader'),
                         ('tiffslide_reader', 'TiffSlideReader')):
        try:
            yield getattr(import_module(f'.{module}', __package__), name)
        except ImportError:
            continue
    if suffix in TIFF_SUFFIXES:
        yield ImageReader
