# Copyright (c) CellVTA-MMSeg contributors.
"""Files and folders that appear only when complete; text and arrays on the disk."""
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

SETTINGS, PROGRESS = 'conversion.json', 'progress.json'
MAX_CHANGES = 5  # that a message names
PART_NAME = re.compile(r'\.\d+\.(.+)', re.DOTALL)  # of complete_file
# Bytes: up to so many, a file is read whole for its digest; above, pieces of it.
DIGEST_WHOLE, DIGEST_PIECE = 256 << 20, 256 << 10


class UnreadableError(ValueError):
    """A file, or a part of it, that cannot be decoded."""


@contextmanager
def complete_file(path: str | os.PathLike) -> Iterator[Path]:
    """Lends a hidden path beside `path`, and moves what was written there onto it.

    After an exception nothing is left, and an older file of that name stays.

    Args:
        path: Final path; its folder must exist.

    Yields:
        Where to write; it has the same suffixes.
    """
    path = Path(path)
    part = path.with_name(f'.{os.getpid()}.{path.name}')
    try:
        with named_errors(path, part):
            yield part
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def complete_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Lends a hidden folder beside `path`, and gives it its name when it is filled.

    After an exception nothing is left.

    Args:
        path: The folder to make; its parents are made, too.

    Yields:
        The folder to fill.

    Raises:
        FileExistsError: When there is something of that name.
    """
    path = Path(path)
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{os.getpid()}.{path.name}')
    part.mkdir()
    try:
        yield part
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def refuse_existing(path: Path) -> None:
    """Raises FileExistsError when there is something of that name, a link too."""
    if os.path.lexists(path):
        raise FileExistsError(
            f'{path}: exists already; delete it or choose another folder')


@contextmanager
def named_errors(path: Path, part: Path | None = None) -> Iterator[None]:
    """Names the file in errors of writing: of an open file, Python does not say it.

    Args:
        path: The file.
        part: Its name while it is written.
    """
    try:
        yield
    except OSError as error:
        if type(error) is OSError and error.errno is None:  # of NumPy
            raise OSError(f'{path}: {error}') from error
        if error.errno is None or error.filename not in (None, part, str(part)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


class PendingFolder:
    """A folder that appears under its name only when everything is in it.

    It is filled as `<name>.part` beside its place. After an interruption, a start with
    the same settings continues in that folder.

    Args:
        path: The folder to make; it must not exist.
        settings: What the content depends on, such as the source folder and options;
            JSON values. Stays in the folder as `conversion.json`.

    Attributes:
        part: The folder to write into.

    Raises:
        FileExistsError: When the folder exists, or its part has other settings or was
            not made by a conversion.
    """

    def __init__(self, path: str | Path, settings: dict) -> None:
        self.path = Path(path)
        refuse_existing(self.path)
        self.part = self.path.with_name(f'{self.path.name}.part')
        settings = json.loads(json.dumps(settings))
        begun = self._read(SETTINGS)
        if begun is None:
            self.part.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign_files()
            self._write(SETTINGS, settings)
        elif begun != settings:
            raise FileExistsError(
                f'{self.part}: begun with other settings, '
                f'{describe_changes(begun, settings)}; delete it, or go on with those')

    def progress(self, step: str) -> int:
        """Returns how many items of a step are written."""
        return (self._read(PROGRESS) or {}).get(step, 0)

    def record(self, step: str, done: int) -> None:
        """Notes that the first `done` items of a step are safely on disk."""
        self._write(PROGRESS, {**(self._read(PROGRESS) or {}), step: done})

    def publish(self) -> None:
        """Gives the folder its name."""
        (self.part / PROGRESS).unlink(missing_ok=True)
        os.replace(self.part, self.path)

    def _refuse_foreign_files(self) -> None:
        """A folder that happens to have this name must not be taken over."""
        for path in self.part.iterdir():
            if path.name != f'{SETTINGS}.new':  # the first file of a conversion
                raise FileExistsError(
                    f'{self.part}: holds {path.name} but no {SETTINGS}, so no '
                    'conversion made it; move it away or choose another folder')

    def _read(self, name: str) -> dict | None:
        path = self.part / name
        if not path.is_file():
            return None
        try:
            content = read_json(path)
        except ValueError as error:
            raise ValueError(f'{error}; delete {self.part} to start anew') from error
        if not isinstance(content, dict):
            raise ValueError(f'{path}: found a {type(content).__name__}, expected a '
                             f'JSON object; delete {self.part} to start anew')
        return content

    def _write(self, name: str, content: dict) -> None:
        """Replaces a file at once: a killed process leaves the old one or the new."""
        pending = self.part / f'{name}.new'
        pending.write_text(json.dumps(content, indent=2) + '\n')
        os.replace(pending, self.part / name)


def describe_files(paths: Sequence[str | Path]) -> dict[str, list[int]]:
    """Describes the files that a conversion reads, to go among its settings.

    A conversion must not go on with a file that was replaced in between.

    Returns:
        Size (bytes) and time of the last change (ns) of each absolute path.
    """
    return {
        str(Path(path).resolve()): [stat.st_size, stat.st_mtime_ns]
        for path, stat in ((path, os.stat(path)) for path in paths)
    }


def content_digest(paths: Sequence[str | Path]) -> str:
    """Returns hexadecimal digits that tell files by what is in them.

    Of files above `DIGEST_WHOLE` only pieces are read, from the first to the last
    byte: a slide lies on a network drive.

    Args:
        paths: The files of one image or slide.
    """
    digest = hashlib.sha256()
    for path in paths:
        size = os.stat(path).st_size
        digest.update(size.to_bytes(8, 'big'))
        with open(path, 'rb') as file:
            for start in _piece_starts(size):
                file.seek(start)
                digest.update(file.read(DIGEST_PIECE))
    return digest.hexdigest()[:32]


def _piece_starts(size: int) -> Iterator[int]:
    if size <= DIGEST_WHOLE:
        yield from range(0, size, DIGEST_PIECE)
    else:
        num_pieces = DIGEST_WHOLE // DIGEST_PIECE // 4
        for piece in range(num_pieces):
            yield (size - DIGEST_PIECE) * piece // (num_pieces - 1)


def describe_changes(old: dict, new: dict) -> str:
    """Says which settings differ and how, such as `amp=False, now True`.

    Args:
        old: Nested dicts of JSON values.
        new: The same.
    """
    old, new = dict(_leaves(old)), dict(_leaves(new))
    names = sorted(name for name in old.keys() | new.keys()
                   if old.get(name) != new.get(name))
    said = [f'{name}={old.get(name)!r}, now {new.get(name)!r}'
            for name in names[:MAX_CHANGES]]
    more = [f'{len(names) - MAX_CHANGES} more'] * (len(names) > MAX_CHANGES)
    return '; '.join(said + more)


def _leaves(settings: dict, prefix: str = '') -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value


def settings_digest(settings: Any, digits: int = 16) -> str:
    """Returns hexadecimal digits that differ as soon as any setting does.

    Args:
        settings: Nested dicts and lists; what JSON does not know counts as text.
        digits: Number of digits.
    """
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def read_text(path: str | os.PathLike) -> str:
    """Reads a text file of the user, UTF-8 with or without a byte order mark.

    Raises:
        ValueError: When the file has another encoding.
    """
    try:
        return Path(path).read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: not UTF-8 text ({error}); save it as UTF-8'
                         ) from error


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file of the user.

    Raises:
        ValueError: When the file is not JSON, or not in UTF-8.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: not JSON ({error})') from error


@lru_cache(maxsize=16)
def open_npy(path: str) -> np.ndarray:
    """Maps a `.npy` file into memory, once per process; see `map_npy`."""
    return map_npy(path)


def map_npy(path: str) -> np.ndarray:
    """Maps a `.npy` file into memory, read-only.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When the file is truncated, no `.npy` file, or holds objects.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        array = np.load(path, mmap_mode='r')
    except Exception as error:  # numpy raises many types for a damaged header
        if _holds_objects(path):
            raise ValueError(
                f'{path}: holds pickled Python objects, such as a dictionary, which '
                'are not read because they can run code; save the arrays in it, each '
                'with np.save') from error
        raise ValueError(
            f'{path}: not a complete .npy file ({str(error)[:200]}); found '
            f'{Path(path).stat().st_size} bytes; copy or unpack it again') from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f'{path}: an .npz archive; expected a single array, .npy')
    return array


def _holds_objects(path: str) -> bool:
    """Tells if the header of a `.npy` file announces Python objects."""
    with open(path, 'rb') as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = (np.lib.format.read_array_header_1_0 if version == (1, 0)
                           else np.lib.format.read_array_header_2_0)
            return read_header(file)[2].hasobject
        except Exception:  # as above
            return False


def read_item(path: str | Path, index: int) -> np.ndarray:
    """Reads one entry of a `.npy` file into memory.

    The file is mapped anew each time: a mapping that stays open would keep every page
    that was read.
    """
    return np.array(map_npy(str(path))[index])
