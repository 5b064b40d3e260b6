# Copyright (c) CellVTA-MMSeg contributors.
"""Long commands that leave a log and never outlive who started them."""
from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
GRACE_S = 10  # for a command that was told to end
LOCK_WAIT_S = 30  # data loading processes notice within 5 s that their parent is gone


def run_logged(command: Sequence[str], log: Path, lock: int) -> int:
    """Run a command and write what it prints into a file.

    If this process is told to end, or an exception passes through, the command ends
    with all its processes; if this process is killed, Linux ends the command.

    Args:
        command (Sequence[str]): Program and arguments.
        log (Path): File that is made for the output, after a line with the time of the
            start (s since 1970) and the command.
        lock (int): File descriptor of ``folder_lock``, which the command holds along.

    Returns:
        int: Exit code; negative for a signal.
    """
    libc = ctypes.CDLL(None) if sys.platform == 'linux' else None

    def end_with_parent() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    with open(log, 'wb') as file:
        file.write(f'{time.time():.0f} {" ".join(command)}\n'.encode())
        file.flush()
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            start_new_session=True, pass_fds=[lock], preexec_fn=end_with_parent)
        try:
            return process.wait()
        finally:
            _end_group(process)


def logged_seconds(log: Path) -> float:
    """From the start of a command to its last output, in s, however it ended."""
    with open(log, 'rb') as file:
        started = float(file.readline().split()[0])
    return max(log.stat().st_mtime - started, 0.0)


def _end_group(process: subprocess.Popen) -> None:
    """End a command and what it has started, such as the processes of other GPUs."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signal_number)
            process.wait(GRACE_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def folder_lock(folder: Path) -> Iterator[int]:
    """Hold a folder for one process and the commands that it starts.

    Args:
        folder (Path): An existing folder.

    Yields:
        int: File descriptor of the lock, to be handed to ``run_logged``.

    Raises:
        ValueError: If others hold it.
    """
    with open(folder / '.lock', 'w') as file:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise ValueError(
                        f'{folder}: another run is at work there, or a training that '
                        'it left behind; end it first, or choose another folder'
                    ) from error
                time.sleep(0.5)
        yield file.fileno()
