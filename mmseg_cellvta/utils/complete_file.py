# Copyright (c) CellVTA-MMSeg contributors.
"""Files that appear under their name only when they are complete."""
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def complete_file(path: str | os.PathLike) -> Iterator[Path]:
    """Lend a hidden path beside `path`, and move what was written there onto it.

    After an exception nothing is left, and an older file of that name stays.

    Args:
        path (str | os.PathLike): Final path; its folder must exist.

    Yields:
        Path: Where to write; it has the same suffixes.
    """
    path = Path(path)
    part = path.with_name(f'.{os.getpid()}.{path.name}')
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
