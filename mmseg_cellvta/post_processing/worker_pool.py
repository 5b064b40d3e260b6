# Copyright (c) CellVTA-MMSeg contributors.
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor

import cv2


class WorkerPool:
    """Worker processes that start with the first batch and stay until the exit.

    Copies and pickles carry the number of workers, not the processes, so that a model
    which holds a pool can be deep-copied (EMA) or sent to another process.

    Args:
        num_workers (int): Number of processes; 0 works in the calling process.

    Raises:
        ValueError: If `num_workers` is negative.
    """

    def __init__(self, num_workers: int = 0) -> None:
        if num_workers < 0:
            raise ValueError(f'num_workers={num_workers}: expected 0 or more.')
        self.num_workers = num_workers
        self._executor = None

    def starmap(self, function: Callable, jobs: Sequence[tuple]) -> list:
        """Call `function(*job)` for every job; results come in the order of the jobs.

        A single job is not worth the way to another process and back.
        """
        if self.num_workers == 0 or len(jobs) < 2:
            return [function(*job) for job in jobs]
        return list(self._started().map(function, *zip(*jobs, strict=True)))

    def submit(self, function: Callable, *arguments) -> Future:
        """Have `function(*arguments)` called; without workers it is called now."""
        if self.num_workers:
            return self._started().submit(function, *arguments)
        done = Future()
        done.set_result(function(*arguments))
        return done

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = self._start()
        return self._executor

    def _start(self) -> ProcessPoolExecutor:
        # A forked worker starts at once; a spawned one imports torch first.
        method = 'fork' if sys.platform == 'linux' else None
        # OpenCV's threads do not survive a fork, and would compete with the workers.
        return ProcessPoolExecutor(
            self.num_workers,
            mp_context=multiprocessing.get_context(method),
            initializer=cv2.setNumThreads,
            initargs=(0,))

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_executor': None}
