# Copyright (c) CellVTA-MMSeg contributors.
"""Processes that work for this one, and memory that they share with it."""
import ctypes
import mmap
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue

import cv2
import numpy as np

from ..utils.time_limit import end_with_parent

MAX_WORKERS = 8  # by default: as many keep up with a large GPU
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
LARGE_ARRAY = 32 << 20  # bytes, the most that it takes
CAN_FORK = 'fork' in multiprocessing.get_all_start_methods()

_places: list[mmap.mmap] = []  # in a worker


def default_num_workers() -> int:
    """Returns how many workers the processors allow that this process may use.

    A scheduler's allotment counts, not the machine: the affinity, Slurm's CPUs per
    task, and the processes that torchrun starts on one machine.
    """
    if sys.platform != 'linux':  # elsewhere forks are missing or not safe
        return 0
    cores = len(os.sched_getaffinity(0))
    allotted = os.environ.get('SLURM_CPUS_PER_TASK')
    if allotted:
        cores = min(cores, int(allotted))
    else:
        cores //= int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return min(max(cores, 1), MAX_WORKERS)


class SharedPool:
    """Worker processes, and places in memory that they share with this process.

    Tiles and maps lie in these places instead of going through pipes. The places are
    anonymous memory: /dev/shm, which containers keep small, does not limit them.

    Args:
        num_workers: Number of processes; 0 works in the calling process.
        num_bytes: Size of a place.
        num_places: Number of places.
        niceness: How much workers give way to other processes, 0-19.

    Raises:
        ValueError: When `num_workers` is negative, or not 0 on a system without fork.
    """

    def __init__(self, num_workers: int, num_bytes: int, num_places: int,
                 niceness: int = 0) -> None:
        if num_workers < 0 or (num_workers and not CAN_FORK):
            raise ValueError(
                f'num_workers={num_workers}: expected 0' + (' or more' * CAN_FORK))
        self.num_workers = num_workers
        self.num_places = num_places
        self._niceness = niceness
        self._memory = [mmap.mmap(-1, num_bytes) for _ in range(num_places)]
        self._free = SimpleQueue()
        for place in range(num_places):
            self._free.put(place)
        self._executor = None

    def start(self) -> None:
        """Starts the workers, which else start with the first job.

        They are forks, and should be made before this process touches a GPU.
        """
        if self._executor is None and self.num_workers:
            self._executor = ProcessPoolExecutor(
                self.num_workers, multiprocessing.get_context('fork'), _begin_worker,
                (self._memory, self._niceness))
            for _ in range(self.num_workers):
                self._executor.submit(os.getpid)

    def close(self) -> None:
        """Ends the workers."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def borrow(self) -> int:
        """Waits for a free place and returns its number."""
        return self._free.get()

    def borrow_free(self) -> int | None:
        """Returns the number of a free place; None where there is none."""
        try:
            return self._free.get_nowait()
        except Empty:
            return None

    def release(self, place: int) -> None:
        """Makes a place free."""
        self._free.put(place)

    def memory(self, place: int) -> memoryview:
        """Returns the bytes of a place."""
        return memoryview(self._memory[place])

    def array(self, place: int, shape: Sequence[int], dtype: type) -> np.ndarray:
        """Returns an array that begins where the place begins."""
        size = int(np.prod(shape))
        return np.frombuffer(self._memory[place], dtype, size).reshape(shape)

    def submit(self, place: int, function: Callable, *arguments) -> Future:
        """Starts `function(memory, *arguments)` with the bytes of a place."""
        self.start()
        if self._executor is not None:
            return self._executor.submit(_run, place, function, *arguments)
        future = Future()
        try:
            future.set_result(function(self.memory(place), *arguments))
        except Exception as error:
            future.set_exception(error)
        return future


def _begin_worker(memory: list[mmap.mmap], niceness: int) -> None:
    _places[:] = memory
    end_with_parent(partial(os._exit, 1))  # else it would wait for work forever
    _keep_memory()
    os.nice(niceness)
    # OpenCV's threads do not survive a fork, and would compete with other workers.
    cv2.setNumThreads(0)


def _keep_memory() -> None:
    """Lets glibc keep freed memory, to get which anew takes a tenth of the time."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt'):
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_ARRAY)
        libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)


def _run(place: int, function: Callable, *arguments) -> object:
    return function(memoryview(_places[place]), *arguments)
