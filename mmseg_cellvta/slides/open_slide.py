# Copyright (c) CellVTA-MMSeg contributors.
import os
from collections.abc import Iterable
from glob import glob
from importlib import import_module
from pathlib import Path

import numpy as np

from ..datasets.labels import natural_key
from .image_reader import ImageReader
from .reader import SlideReader, UnreadableError

PICTURE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp')
TIFF_SUFFIXES = ('.tif', '.tiff')  # may be either
SLIDE_SUFFIXES = ('.svs', '.svslide', '.ndpi', '.mrxs', '.scn', '.bif', '.vms', '.vmu',
                  '.dcm')
SUFFIXES = PICTURE_SUFFIXES + TIFF_SUFFIXES + SLIDE_SUFFIXES
NO_READER = ('neither OpenSlide nor tiffslide is installed; run '
             'pip install openslide-python openslide-bin tiffslide')


def list_inputs(sources: Iterable[str | os.PathLike]) -> list[Path]:
    """Pictures and slides that are meant by files, folders and patterns.

    Args:
        sources (Iterable[str | os.PathLike]): A file is taken as it is; a folder or a
            pattern such as ``slides/*.svs`` for the pictures and slides in it, in
            natural order, without those of its subfolders.

    Returns:
        list[Path]: Files in the order of `sources`, each once.

    Raises:
        FileNotFoundError: If one of `sources` leads to no file.
        ValueError: If two files share their name without suffix, and so their results.
    """
    paths = {}
    for source in sources:
        for path in _list_source(Path(source)):
            paths.setdefault(path.resolve(), path)
    by_stem = {}
    for path in paths.values():
        other = by_stem.setdefault(path.stem, path)
        if other is not path:
            raise ValueError(f'{other} and {path}: the results of both would be called '
                             f'{path.stem}; rename one, or run them apart')
    return list(paths.values())


def _list_source(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    found = source.iterdir() if source.is_dir() else map(Path, glob(str(source)))
    files = [path for path in found if path.suffix.lower() in SUFFIXES
             and not path.name.startswith('.') and path.is_file()]
    if not files:
        raise FileNotFoundError(f'{source}: no picture or slide there; expected files '
                                f'of the kinds {" ".join(SUFFIXES)}')
    return sorted(files, key=lambda path: natural_key(str(path)))


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
        return ImageReader(source, mpp)
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return ImageReader(path, mpp)
    readers = _slide_readers()
    reasons = [] if readers else [NO_READER]
    if suffix in TIFF_SUFFIXES:
        readers.append(ImageReader)
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
