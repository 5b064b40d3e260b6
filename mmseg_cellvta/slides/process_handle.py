# Copyright (c) CellVTA-MMSeg contributors.
import os
from collections.abc import Callable
from typing import Any


class ProcessHandle:
    """An open file that each process opens for itself when it first needs it.

    A handle of OpenSlide or tifffile must not be shared over a fork: both processes
    would move one file position.

    Args:
        open_file (Callable): Opens the file; what it returns has a ``close``. It can be
            pickled.
        path (str): Its argument.
    """

    def __init__(self, open_file: Callable[[str], Any], path: str) -> None:
        self.open_file = open_file
        self.path = path
        # By process. One inherited over a fork stays there unused: closing it could
        # wait for a lock that a thread of the other process held at the fork.
        self._handles: dict[int, Any] = {}

    def get(self) -> Any:
        """What `open_file` returned in this process."""
        pid = os.getpid()
        if pid not in self._handles:
            self._handles[pid] = self.open_file(self.path)
        return self._handles[pid]

    def close(self) -> None:
        """Close this process's file, if it is open; `get` opens it again."""
        handle = self._handles.pop(os.getpid(), None)
        if handle is not None:
            handle.close()

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_handles': {}}
