# Copyright (c) CellVTA-MMSeg contributors.
import time
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from mmseg_cellvta.inference import progress
from mmseg_cellvta.inference.progress import NetworkTimer, RunProgress, StageClock


def count(quiet, name='slide'):
    with RunProgress(quiet) as line:
        line.begin(name, num_tiles=10, mm2_per_tile=0.5)
        line.add_tiles(4)
        line.add_tiles(2)
        line.add_cells(7)
        line.add_cells(1)
        task, = line.bar.tasks
        before = task.completed, task.total, dict(task.fields)
        line.finish(1007, 3.25)
    return before, task.fields


@pytest.mark.parametrize('moves', [True, False])
def test_tiles_cells_and_area_add_up_and_end_as_in_the_summary(monkeypatch, moves):
    monkeypatch.setenv('FORCE_COLOR' if moves else 'NO_COLOR', '1')
    before, after = count(quiet=False)
    assert before == (6, 10, dict(cells=8, mm2=3.0))
    assert after == dict(cells=1007, mm2=3.25)


@pytest.mark.parametrize('moves', [True, False])
def test_quiet_prints_nothing(monkeypatch, capsys, moves):
    monkeypatch.setenv('FORCE_COLOR' if moves else 'NO_COLOR', '1')
    count(quiet=True)
    assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize('name', [
    'a [x=0,y=0]', 'old[/x]', '[bold]b', f'{90 * "long "}name'])
def test_names_are_printed_as_they_are(monkeypatch, capsys, name):
    count(quiet=False, name=name)
    log = capsys.readouterr().err
    assert log.count(f' {name}: ') == 2 == len(log.splitlines())
    monkeypatch.setenv('FORCE_COLOR', '1')
    monkeypatch.setenv('COLUMNS', '1000')
    count(quiet=False, name=name)
    assert name in capsys.readouterr().err


def test_a_log_has_a_line_every_minute(monkeypatch, capsys):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(progress, 'time', SimpleNamespace(
        monotonic=lambda: now.seconds))
    with RunProgress() as line:
        line.begin('slide', num_tiles=1000, mm2_per_tile=0.01)
        for _ in range(100):
            now.seconds += 1.5
            line.add_tiles(4)
        line.add_cells(1234)
        line.finish(1230, 4.0)
    said = [text.split(' ', 1)[1] for text in capsys.readouterr().err.splitlines()]
    assert said == [
        'slide: 0 of 1000 tiles, 0 cells in 0.00 mm²',
        'slide: 160 of 1000 tiles, 0 cells in 1.60 mm², 5 min left',
        'slide: 320 of 1000 tiles, 0 cells in 3.20 mm², 4 min left',
        'slide: 400 of 1000 tiles, 1,230 cells in 4.00 mm², 4 min left']


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
