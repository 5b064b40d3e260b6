# Copyright (c) CellVTA-MMSeg contributors.
"""Work that only one process may do at a time."""
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO


class InUseError(OSError):
    """Another process works on the same."""


@contextmanager
def working_alone(path: Path, work: str) -> Iterator[None]:
    """Keeps other processes from the same work, on other machines too.

    The lock is the operating system's: it ends with the process, and a file that a
    killed one leaves is taken over.

    Args:
        path: Of the lock, which is there while the work goes on.
        work: What is worked on, for the message.

    Raises:
        InUseError: When another process is at it; says which.
    """
    file = _take(path, work)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        # Closing alone would leave the lock with forked workers.
        fcntl.flock(file, fcntl.LOCK_UN)
        file.close()


def _take(path: Path, work: str) -> TextIO:
    while True:
        file = open(path, 'a+')
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read().strip() or 'another process'
            file.close()
            raise InUseError(
                f'{work}: {who} works on it; wait for it, or choose another --out'
            ) from None
        # The one before may have removed the file since it was opened here.
        if path.is_file() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}, since '
               f'{datetime.now():%Y-%m-%d %H:%M}\n')
    file.flush()
    return file
