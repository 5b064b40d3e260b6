# Copyright (c) CellVTA-MMSeg contributors.
import os
import re
import signal
import subprocess
import sys

import pytest

from mmseg_cellvta.inference.locks import InUseError, working_alone

HOLD = """
import sys, time
from pathlib import Path
from mmseg_cellvta.inference.locks import working_alone
with working_alone(Path(sys.argv[1]), 'slide'):
    print('has it', flush=True)
    time.sleep(60)
"""


def test_the_second_one_hears_who_is_at_it(tmp_path):
    with working_alone(tmp_path / 'lock', 'slide.svs'):
        with pytest.raises(InUseError, match=f'slide.svs: process {os.getpid()} on'), \
                working_alone(tmp_path / 'lock', 'slide.svs'):
            pass
        with working_alone(tmp_path / 'other', 'b.svs'):
            pass
    assert not list(tmp_path.iterdir())
    with working_alone(tmp_path / 'lock', 'slide.svs'):
        pass


def test_it_ends_with_an_error(tmp_path):
    with pytest.raises(KeyError), working_alone(tmp_path / 'lock', 'slide.svs'):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_leaves_is_taken_over(tmp_path):
    lock = tmp_path / 'lock'
    other = subprocess.Popen([sys.executable, '-c', HOLD, str(lock)],
                             stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == 'has it\n'
    with pytest.raises(InUseError, match=f'process {other.pid} on'), \
            working_alone(lock, 'slide'):
        pass
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert lock.is_file()
    with working_alone(lock, 'slide'):
        assert re.match(rf'process {os.getpid()} on \S+, since ', lock.read_text())


def test_a_forked_worker_does_not_keep_it(tmp_path):
    reader, writer = os.pipe()
    with working_alone(tmp_path / 'lock', 'slide'):
        child = os.fork()
        if child == 0:  # until it hears that it may end
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    with working_alone(tmp_path / 'lock', 'slide'):
        pass
    os.close(writer)
    assert os.waitpid(child, 0)[1] == 0
