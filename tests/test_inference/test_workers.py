# Copyright (c) CellVTA-MMSeg contributors.
import os

import numpy as np
import pytest

from mmseg_cellvta.inference import workers
from mmseg_cellvta.inference.workers import SharedPool, default_num_workers


def double(memory, length, fail=False):
    """Doubles the first numbers of a place; returns who did it."""
    if fail:
        raise ValueError('cannot')
    np.frombuffer(memory, np.int32, length)[:] *= 2
    return os.getpid()


@pytest.mark.parametrize('num_workers', [0, 2])
def test_work_is_done_in_the_memory_of_a_place(num_workers):
    pool = SharedPool(num_workers, num_bytes=400, num_places=3)
    places = [pool.borrow() for _ in range(3)]
    arrays = [pool.array(place, (10, 10), np.int32) for place in places]
    for index, array in enumerate(arrays):
        array[:] = index
    futures = [pool.submit(place, double, 100) for place in places]
    pids = {future.result() for future in futures}
    assert (os.getpid() in pids) == (num_workers == 0)
    assert [set(array.ravel()) for array in arrays] == [{0}, {2}, {4}]
    pool.release(places[1])
    assert pool.borrow() == places[1]
    pool.close()
    assert pool.submit(places[0], double, 100).result()  # others start
    pool.close()


@pytest.mark.parametrize('num_workers', [0, 1])
def test_errors_come_with_the_result(num_workers):
    pool = SharedPool(num_workers, 400, 1)
    future = pool.submit(pool.borrow(), double, 100, True)
    with pytest.raises(ValueError, match='cannot'):
        future.result()


@pytest.mark.parametrize('environment, expected', [
    ({}, 6), (dict(SLURM_CPUS_PER_TASK='4'), 4), (dict(SLURM_CPUS_PER_TASK='32'), 6),
    (dict(LOCAL_WORLD_SIZE='3'), 2), (dict(LOCAL_WORLD_SIZE='8'), 1),
    (dict(SLURM_CPUS_PER_TASK='4', LOCAL_WORLD_SIZE='3'), 4)])
def test_as_many_workers_as_this_job_may_use(monkeypatch, environment, expected):
    monkeypatch.setattr(workers.os, 'sched_getaffinity', lambda _: set(range(6)))
    for name in ('SLURM_CPUS_PER_TASK', 'LOCAL_WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_num_workers() == expected
    monkeypatch.setattr(workers.os, 'sched_getaffinity', lambda _: set(range(64)))
    assert default_num_workers() <= workers.MAX_WORKERS
    monkeypatch.setattr(workers.sys, 'platform', 'win32')
    assert default_num_workers() == 0


def test_a_negative_number_of_workers_is_refused():
    with pytest.raises(ValueError, match='num_workers=-1: expected 0 or more'):
        SharedPool(-1, 1, 1)
