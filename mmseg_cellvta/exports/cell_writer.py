# Copyright (c) CellVTA-MMSeg contributors.
import uuid
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path

from ..structures import CellTable, SlideInfo
from ..utils.files import complete_file

# Of the ids in our files: the same names make the same ids.
NAMESPACE = uuid.UUID('6d1b8a52-6a3c-5b53-9d38-0d0c0e7e4c11')


class CellWriter(ABC):
    """Writes the cells of a slide into a file, table after table.

    A context manager: the file appears under its name on a clean exit. Cells are
    numbered from 1 on in the order in which they come, the same in every format.
    Memory does not depend on how many there are.

    Args:
        path (Path): Target file; its folder must exist.
        info (SlideInfo): What the cells were found on.
    """

    def __init__(self, path: Path, info: SlideInfo) -> None:
        self.path = path
        self.info = info
        self.num_cells = 0

    def __enter__(self) -> 'CellWriter':
        with ExitStack() as stack:
            self._open(stack.enter_context(complete_file(self.path)), stack)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind, error, trace) -> None:
        if error is not None:
            self.stack.__exit__(kind, error, trace)
        else:
            with self.stack:
                self._finish()

    def write(self, cells: CellTable) -> None:
        """Add cells."""
        self._write(cells, first_id=self.num_cells + 1)
        self.num_cells += len(cells)

    @abstractmethod
    def _open(self, path: Path, stack: ExitStack) -> None:
        """Open the file; what must be closed goes onto the stack."""

    @abstractmethod
    def _write(self, cells: CellTable, first_id: int) -> None:
        """Add cells with ids from `first_id` on."""

    @abstractmethod
    def _finish(self) -> None:
        """Write what comes after the last cell."""
