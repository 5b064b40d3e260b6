# Copyright (c) CellVTA-MMSeg contributors.
import copy
import inspect
import os
import subprocess
import sys

import pytest

from mmseg_cellvta.post_processing.hover_post_processor import WorkerPool

# Run by path: importing the package would import torch.
SCRIPT = f"""
import runpy
pool = runpy.run_path({inspect.getfile(WorkerPool)!r})['WorkerPool'](2)
print(*pool.starmap(divmod, [(7, 2), (9, 4)]))
"""


def process_id(_):
    return os.getpid()


def fail(_):
    raise ValueError('image 3: broken')


def test_no_workers_means_this_process():
    assert set(WorkerPool(0).starmap(process_id, [(0,), (1,)])) == {os.getpid()}


def test_single_job_stays_in_this_process():
    assert WorkerPool(2).starmap(process_id, [(0,)]) == [os.getpid()]
    assert WorkerPool(2).starmap(process_id, []) == []


def test_workers_are_kept_and_results_ordered():
    pool = WorkerPool(1)
    first = pool.starmap(process_id, [(0,), (1,)])
    assert os.getpid() not in first
    assert pool.starmap(process_id, [(0,), (1,)]) == first
    assert pool.starmap(divmod, [(7, 2), (9, 4)]) == [(3, 1), (2, 1)]


def test_copy_starts_workers_of_its_own():
    pool = WorkerPool(1)
    used = set(pool.starmap(process_id, [(0,), (1,)]))
    assert used.isdisjoint(copy.deepcopy(pool).starmap(process_id, [(0,), (1,)]))


def test_error_of_a_worker_reaches_the_caller():
    with pytest.raises(ValueError, match='image 3: broken'):
        WorkerPool(1).starmap(fail, [(0,), (1,)])


def test_interpreter_exits_while_workers_wait():
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == '(3, 1) (2, 1)\n'


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_submitted_call_gives_its_result_later(num_workers):
    pool = WorkerPool(num_workers)
    assert pool.submit(divmod, 9, 4).result() == (2, 1)
    assert (pool.submit(process_id, 0).result() == os.getpid()) == (num_workers == 0)
