# Copyright (c) CellVTA-MMSeg contributors.
"""A conversion that is killed on its way, shared by tests."""
import multiprocessing
import os
import signal
from collections.abc import Callable

from rich.progress import Progress


class KillingProgress(Progress):
    """Kills its process, as the system would, once `kill_at` patches are done."""

    def __init__(self, kill_at: int) -> None:
        super().__init__(disable=True)
        self.kill_at = kill_at

    def advance(self, task_id: int, advance: float = 1) -> None:
        super().advance(task_id, advance)
        if sum(task.completed for task in self.tasks) >= self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def run_and_kill(convert: Callable[[Progress], object], kill_at: int) -> None:
    """Calls `convert` in a process of its own that is killed after some patches."""
    context = multiprocessing.get_context('fork')
    process = context.Process(target=convert, args=(KillingProgress(kill_at), ))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
