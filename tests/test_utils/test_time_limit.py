# Copyright (c) CellVTA-MMSeg contributors.
import os
import subprocess
import sys
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from mmseg_cellvta.utils.time_limit import Deadline, _end, run_apart

pytestmark = pytest.mark.skipif(
    sys.platform != 'linux', reason='processes are looked up in /proc')


def is_running(pid):
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False
    return state != 'Z'


def test_a_deadline_comes_nearer():
    deadline = Deadline(60)
    first = deadline.left()
    assert 59 < deadline.left() <= first <= 60 and Deadline(-1).left() < 0


def test_a_value_and_an_exception_come_back():
    assert run_apart(partial(divmod, 7, 2), 100) == (3, 1)
    with pytest.raises(ValueError, match='x1'):
        run_apart(partial(int, 'x1'), 100)


def test_a_process_that_dies_is_noticed():
    with pytest.raises(ChildProcessError, match='exit code 3'):
        run_apart(partial(os._exit, 3), 100)


def test_what_takes_too_long_is_stopped():
    start = time.monotonic()
    with pytest.raises(TimeoutError, match='not done after 1 s'):
        run_apart(partial(time.sleep, 300), 1)
    assert time.monotonic() - start < 30


def _lead(sender):
    os.setsid()
    sender.send(subprocess.Popen(['sleep', '300']).pid)
    time.sleep(300)


def test_processes_that_it_started_end_with_it():
    context = get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_lead, args=(sender, ))
    process.start()
    pid = receiver.recv()
    assert is_running(pid)
    _end(process)
    for _ in range(100):
        if not is_running(pid):
            break
        time.sleep(0.05)
    assert not is_running(pid) and not process.is_alive()
