# Copyright (c) CellVTA-MMSeg contributors.
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

from .image_reader import ImageReader
from .inputs import IMAGE_SUFFIXES, TIFF_SUFFIXES
from .reader import SlideReader, UnreadableError

PROBES = (0, 0.25, 0.5, 0.75, 1)  # parts of height and width
NO_SLIDE_LIBRARY = ('neither OpenSlide nor tiffslide is installed; run '
                    'pip install openslide-python openslide-bin tiffslide')


def open_slide(source: str | os.PathLike | np.ndarray, mpp: float | None = None,
               force_mpp: bool = False, skip_damaged: bool = False) -> SlideReader:
    """Opens an image or slide with the first reader that can read it.

    Slides are offered to OpenSlide, then to tiffslide; TIFF files that neither takes
    are read as plain images. `tiff_rules` say what all of them make of a TIFF file.

    Args:
        source: Image or slide file, or RGB image, uint8 (H, W, 3), 0-255.
        mpp: Size of a pixel of level 0, µm, where the file states none; None for what
            the file states. A file that states another one keeps it, and says so in
            `remarks`.
        force_mpp: Take `mpp`, whatever the file states.
        skip_damaged: Take damaged parts of a slide for white glass.

    Returns:
        Reader of the whole file, some px of which were read.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it cannot be read, no pixel has the size `mpp`, or it cannot be
            known which image or scale is meant.
    """
    if isinstance(source, np.ndarray):
        return ImageReader(source, mpp, force_mpp)
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return ImageReader(path, mpp, force_mpp)
    reasons, tried = [], set()
    for reader_class in _readers(suffix):
        tried.add(reader_class)
        options = {} if reader_class is ImageReader else dict(skip_damaged=skip_damaged)
        try:
            reader = reader_class(path, mpp, force_mpp, **options)
            _probe(reader, skip_damaged)
            return reader
        except UnreadableError as error:
            reason = str(error).removeprefix(f'{path}: ').removeprefix(f'{path.name}: ')
            reasons.append(reason)
    if tried <= {ImageReader}:
        reasons.insert(0, NO_SLIDE_LIBRARY)
    raise UnreadableError(f'{path}: ' + '; '.join(dict.fromkeys(reasons)))


def _probe(reader: SlideReader, skip_damaged: bool) -> None:
    """Reads some px: a library may open a file that it cannot decode.

    Raises:
        UnreadableError: When the corner, or with `skip_damaged` every place, fails.
    """
    steps = PROBES if skip_damaged else (0,)
    height, width = reader.shape
    for row in steps:
        for col in steps:
            x, y = int(col * (width - 1)), int(row * (height - 1))
            reader.read(0, x, y, 1, 1)
            if not reader.is_damaged(0, x, y, 1, 1):
                return
    raise UnreadableError(f'{reader.name}: damaged at all {len(steps)**2} places tried')


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
