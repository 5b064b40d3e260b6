# Copyright (c) CellVTA-MMSeg contributors.
import os
import sys

import pytest

from mmseg_cellvta.analysis.child_process import (
    folder_lock,
    logged_seconds,
    run_logged,
)


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
