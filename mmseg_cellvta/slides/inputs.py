# Copyright (c) CellVTA-MMSeg contributors.
"""Which files are images and slides, and which belong to one slide."""
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from natsort import natsorted, ns

from .dicom_header import is_dicom, read_series

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.bmp')
# Images or slides.
TIFF_SUFFIXES = ('.tif', '.tiff', '.btf', '.tf2', '.tf8', '.qptiff')
INDEX_SUFFIXES = ('.vms', '.vmu')  # text that names the files of a slide
SLIDE_SUFFIXES = ('.svs', '.svslide', '.ndpi', '.mrxs', '.scn', '.bif', '.dcm',
                  *INDEX_SUFFIXES)
INPUT_SUFFIXES = IMAGE_SUFFIXES + TIFF_SUFFIXES + SLIDE_SUFFIXES
# Ends of the names of what `tools/infer.py` writes beside <name>_summary.json and what
# else would be an image.
OUTPUT_ENDS = '_overlay.png', '_labels.ome.tiff', '_spaceranger.tiff'
SUMMARY_END = '_summary.json'


@dataclass
class InputList:
    """What files, folders and patterns stand for.

    Attributes:
        paths: Images and slides, each once.
        missing: Why there is nothing, by what was given.
        left_out: What was left out and why, sentences.
    """

    paths: list[Path] = field(default_factory=list)
    missing: dict[str, OSError] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def list_inputs(sources: Iterable[str | os.PathLike]) -> InputList:
    """Lists the images and slides that files, folders and patterns name.

    A slide of several files (DICOM, VMS) is listed once. What `tools/infer.py` wrote
    is no input.

    Args:
        sources: A file is taken as it is. A folder, or a pattern such as
            `slides/**/*.svs`, stands for its images and slides in natural order;
            subfolders only count for a pattern with `**`.

    Returns:
        Files in the order of `sources`.

    Raises:
        ValueError: When the results of two files would have the same name.
    """
    found = InputList()
    paths = {}
    for source in sources:
        try:
            for path in _list_source(Path(source), found.left_out):
                paths.setdefault(path.resolve(), path)
        except FileNotFoundError as error:
            found.missing[str(source)] = error
        except OSError as error:
            found.missing[str(source)] = OSError(
                f'{source}: cannot be read ({error.strerror}); check its permissions')
    found.paths = list(_one_per_slide(list(paths.values()), found.left_out))
    by_name = {}
    for path in found.paths:
        other = by_name.setdefault(result_name(path), path)
        if other is not path:
            raise ValueError(
                f'{other} and {path}: the results of both would be called '
                f'{result_name(path)}; rename one, or run them apart')
    return found


def result_name(path: Path) -> str:
    """Returns the name of an input in results: that of its file, as text.

    Names of old systems are bytes in Latin-1, which are no text for Python.
    """
    name = os.fsencode(path.stem)
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode('latin-1')


def _list_source(source: Path, left_out: list[str]) -> list[Path]:
    if source.is_file():
        found = [source]
    else:
        entries = source.iterdir() if source.is_dir() else map(
            Path, glob(str(source), recursive=True))
        entries = {path for path in entries
                   if not path.name.startswith('.') and path.is_file()}
        found, others = [], Counter()
        for path in sorted(entries):
            try:
                if _is_input(path):
                    found.append(path)
                elif not _is_output(path):
                    others[path.suffix or path.name] += 1
            except OSError as error:
                left_out.append(f'{path}: left out, cannot be read ({error.strerror})')
        if found and others:
            kinds = ', '.join(f'{num} {kind}' for kind, num in sorted(others.items()))
            left_out.append(f'{source}: left out what is no image or slide ({kinds})')
    outputs = [path for path in found if _is_output(path)]
    if outputs:
        left_out.append(f'{source}: left out what an earlier run wrote '
                        f'({_names(outputs)})')
    files = set(found) - set(outputs)
    if not files:
        what = 'only what an earlier run wrote' if outputs else 'no image or slide'
        raise FileNotFoundError(f'{source}: {what} there; expected files of the kinds '
                                f'{" ".join(INPUT_SUFFIXES)}')
    # Natural order alone does not tell a1 from a01.
    return natsorted(files, key=str, alg=ns.PRESORT)


def _is_input(path: Path) -> bool:
    """DICOM files often have no suffix, or a part of their number as one."""
    return path.suffix.lower() in INPUT_SUFFIXES or is_dicom(path)


def _is_output(path: Path) -> bool:
    return any(
        path.name.endswith(end) and path.with_name(
            path.name.removesuffix(end) + SUMMARY_END).is_file()
        for end in OUTPUT_ENDS)


def _one_per_slide(paths: list[Path], left_out: list[str]) -> Iterator[Path]:
    """Yields the first file of each slide, and leaves out the parts of others."""
    parts = {part: path for path in paths if path.suffix.lower() in INDEX_SUFFIXES
             for part in _index_parts(path)}
    first, same = {}, {}
    for path in paths:
        if path.resolve() in parts:
            same.setdefault(parts[path.resolve()], []).append(path)
            continue
        series = _dicom_series(path)
        slide = path if series is None else first.setdefault(
            (path.parent.resolve(), series), path)
        if slide is path:
            yield path
        else:
            same.setdefault(slide, []).append(path)
    left_out.extend(f'{slide}: {_names(others)} belong to this slide'
                    for slide, others in same.items())


def _dicom_series(path: Path) -> str | None:
    """Returns which slide a DICOM file belongs to; None for other files."""
    if path.suffix.lower() in set(INPUT_SUFFIXES) - {'.dcm'}:
        return None
    try:
        return read_series(path)
    except OSError:  # it fails alone, when it is opened
        return None


def slide_files(path: Path) -> list[Path]:
    """Returns all files of an image or slide, which one of them names.

    Args:
        path: The one that is opened.
    """
    suffix = path.suffix.lower()
    if suffix in INDEX_SUFFIXES:
        return [path, *_index_parts(path)]
    if suffix == '.mrxs':
        folder = path.with_suffix('')
        return [path, *sorted(folder.iterdir())] if folder.is_dir() else [path]
    if (series := _dicom_series(path)) is not None:
        return [other for other in sorted(path.parent.iterdir())
                if other.is_file() and _dicom_series(other) == series]
    return [path]


def _index_parts(path: Path) -> list[Path]:
    """Returns the files that a VMS or VMU file names, as far as they exist."""
    try:
        lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    except OSError:  # it fails alone, when it is opened
        return []
    values = [line.partition('=')[2].strip() for line in lines if '=' in line]
    files = [path.with_name(value) for value in values if value and '/' not in value]
    return [file.resolve() for file in files if file.is_file()]


def _names(paths: list[Path], most: int = 3) -> str:
    names = ', '.join(path.name for path in paths[:most])
    return names if len(paths) <= most else f'{names} and {len(paths) - most} more'
