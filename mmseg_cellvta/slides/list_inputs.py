# Copyright (c) CellVTA-MMSeg contributors.
import os
from collections.abc import Iterable
from glob import glob
from pathlib import Path

from ..datasets.cell_folder import natural_key
from .open_slide import PICTURE_SUFFIXES, TIFF_SUFFIXES

SLIDE_SUFFIXES = ('.svs', '.svslide', '.ndpi', '.mrxs', '.scn', '.bif', '.vms', '.vmu',
                  '.dcm')
SUFFIXES = PICTURE_SUFFIXES + TIFF_SUFFIXES + SLIDE_SUFFIXES


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
