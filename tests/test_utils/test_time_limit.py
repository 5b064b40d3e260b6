# Copyright (c) CellVTA-MMSeg contributors.
import multiprocessing
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from mmseg_cellvta.inference.workers import SharedPool
from mmseg_cellvta.utils import time_limit
from mmseg_cellvta.utils.time_limit import Deadline, run_apart

pytestmark = pytest.mark.skipif(
    sys.platform != 'linux', reason='processes are looked up in /proc')


@pytest.fixture(autouse=True)
def fork(monkeypatch):
    """A process that starts anew imports for seconds; the slide's test has one."""
    monkeypatch.setattr(time_limit, 'get_context',
                        lambda method: multiprocessing.get_context('fork'))


def is_running(pid):
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False
    return state != 'Z'


def stops(pid):
    for _ in range(100):
        if not is_running(pid):
            return True
        time.sleep(0.05)
    return False


def start_another(path):
    """Starts a process, notes its id, and goes on for long."""
    path.write_text(str(subprocess.Popen(['sleep', '300']).pid))
    time.sleep(300)


def test_a_deadline_comes_nearer():
    deadline = Deadline(60)
    first = deadline.left()
    assert 59 < deadline.left() <= first <= 60 and Deadline(-1).left() < 0


def test_a_value_comes_back():
    assert run_apart(partial(divmod, 7, 2), 60) == (3, 1)


def test_an_exception_comes_back():
    with pytest.raises(ValueError, match='x1'):
        run_apart(partial(int, 'x1'), 60)


def test_what_cannot_be_sent_is_said():
    with pytest.raises(RuntimeError, match='its result cannot be sent'):
        run_apart(lambda: lambda: 0, 60)


def test_a_process_that_dies_is_noticed():
    with pytest.raises(ChildProcessError, match='exit code 3'):
        run_apart(partial(os._exit, 3), 60)


def test_what_takes_too_long_is_stopped_with_all_that_it_started(tmp_path):
    start = time.monotonic()
    with pytest.raises(TimeoutError, match='not done after 2 s'):
        run_apart(partial(start_another, tmp_path / 'pid'), 2)
    assert time.monotonic() - start < 30
    assert stops(int((tmp_path / 'pid').read_text()))


def own_pid(memory):
    return os.getpid()


def run_apart_for_long(path):
    run_apart(partial(start_another, path), 300)


def use_a_worker(path):
    pool = SharedPool(1, num_bytes=1, num_places=1)
    path.write_text(str(pool.submit(pool.borrow(), own_pid).result()))
    time.sleep(300)


@pytest.mark.parametrize('work', [run_apart_for_long, use_a_worker])
def test_a_process_ends_when_its_parent_is_killed(tmp_path, work):
    path = tmp_path / 'pid'
    parent = multiprocessing.get_context('fork').Process(target=work, args=(path, ))
    parent.start()
    while not (path.is_file() and path.read_text()):
        time.sleep(0.05)
    pid = int(path.read_text())
    assert is_running(pid)
    parent.kill()
    parent.join()
    assert stops(pid)
