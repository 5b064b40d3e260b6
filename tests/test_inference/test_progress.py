# Copyright (c) CellVTA-MMSeg contributors.
import time
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from mmseg_cellvta.inference import progress
from mmseg_cellvta.inference.progress import NetworkTimer, RunProgress, StageClock


def count(quiet):
    with RunProgress(quiet) as line:
        line.begin('slide', num_tiles=10, mm2_per_tile=0.5)
        line.add_tiles(4)
        line.add_tiles(2)
        line.add_cells(7)
        line.add_cells(1)
        task, = line.bar.tasks
    return task


def test_tiles_cells_and_area_add_up(capsys):
    task = count(quiet=False)
    assert (task.completed, task.total) == (6, 10)
    assert task.fields == dict(cells=8, mm2=3.0)
    assert 'slide' in capsys.readouterr().err


def test_quiet_prints_nothing(capsys):
    count(quiet=True)
    assert capsys.readouterr() == ('', '')


def test_times_of_a_stage_add_up_also_after_an_error():
    clock = StageClock()
    with clock('network'):
        time.sleep(0.02)
    with pytest.raises(OSError), clock('network'):
        time.sleep(0.02)
        raise OSError
    assert 0.04 <= clock.seconds['network'] < 0.2
    assert clock.cpu_seconds['network'] < 0.03  # nobody computes in one's sleep


def test_work_takes_the_time_of_a_processor():
    clock = StageClock()
    with clock('nuclei'):
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
    assert 0.05 <= clock.cpu_seconds['nuclei'] < 0.2


def test_the_table_names_stages_shares_and_the_rest(monkeypatch):
    now = SimpleNamespace(perf_counter=lambda: 10.0, process_time=lambda: 20.0)
    clock = StageClock()
    clock.start = clock.cpu_start = 0
    clock.seconds['network'] = 8
    clock.cpu_seconds['network'] = 15
    monkeypatch.setattr(progress, 'time', now)
    console = Console(width=80, record=True)
    console.print(clock.table(area_mm2=4))
    rows = [line.replace('│', ' ').split() for line in
            console.export_text().splitlines() if '│' in line]
    assert rows == [
        ['network', '8.00', '80.0%', '2.00', '15.00', '75.0%'],
        ['other', '2.00', '20.0%', '0.50', '5.00', '25.0%'],
        ['all', '10.00', '100.0%', '2.50', '20.00', '100.0%']]


def test_the_share_of_an_idle_network():
    clock, timer = StageClock(), NetworkTimer(torch.device('cpu'))
    assert clock.idle_share == 0
    time.sleep(0.05)  # before its first start it is not idle
    for _ in range(2):
        with timer():
            time.sleep(0.03)
        time.sleep(0.02)
    clock.add_network(timer)
    assert clock.busy_seconds == pytest.approx(0.06, abs=0.02)
    assert clock.span_seconds == pytest.approx(0.08, abs=0.025)
    assert clock.idle_share == 1 - clock.busy_seconds / clock.span_seconds > 0
    clock.add_network(NetworkTimer(torch.device('cpu')))  # nothing was to be done
