# Copyright (c) CellVTA-MMSeg contributors.
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from mmseg_cellvta.analysis.child_process import folder_lock, logged_seconds, run_logged


@pytest.fixture
def lock(tmp_path):
    with folder_lock(tmp_path) as lock:
        yield lock


def test_output_and_errors_are_in_the_log_after_the_command(tmp_path, lock):
    log = tmp_path / 'a.log'
    code = 'import sys; print(1, flush=True); print(2, file=sys.stderr); sys.exit(3)'
    assert run_logged([sys.executable, '-c', code], log, lock) == 3
    head, *lines = log.read_text().splitlines()
    assert lines == ['1', '2'] and head.endswith(code)


def test_an_interrupted_command_ends_with_all_its_processes(tmp_path, lock):
    def interrupt(*_):
        raise KeyboardInterrupt

    code = ('import subprocess, sys, time; '
            'child = subprocess.Popen([sys.executable, "-c", "import time; '
            'time.sleep(60)"]); print(child.pid, flush=True); time.sleep(60)')
    log = tmp_path / 'a.log'
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_logged([sys.executable, '-c', code], log, lock)
    finally:
        signal.signal(signal.SIGALRM, before)
    grandchild = int(log.read_text().splitlines()[1])
    deadline = time.monotonic() + 5
    while _is_running(grandchild) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(grandchild)


def _is_running(pid):
    status = Path(f'/proc/{pid}/stat')
    return status.exists() and status.read_text().split()[2] != 'Z'


def test_time_is_from_the_start_to_the_last_output(tmp_path):
    log = tmp_path / 'a.log'
    log.write_text('1000 python train.py\nloss 1\n')
    os.utime(log, (1090, 1090))
    assert logged_seconds(log) == 90


def test_the_lock_stays_with_a_command_that_goes_on(tmp_path):
    """As after the death of a runner where nobody ends its training."""
    (tmp_path / 'work').mkdir()
    with folder_lock(tmp_path / 'work') as lock:
        copy = os.dup(lock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmseg_cellvta.analysis.child_process.LOCK_WAIT_S', 0)
        with pytest.raises(ValueError), folder_lock(tmp_path / 'work'):
            pass
        os.close(copy)
        with folder_lock(tmp_path / 'work'):
            pass
