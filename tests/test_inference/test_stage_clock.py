# Copyright (c) CellVTA-MMSeg contributors.
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from mmseg_cellvta.inference import stage_clock
from mmseg_cellvta.inference.stage_clock import StageClock


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
    monkeypatch.setattr(stage_clock, 'time', now)
    console = Console(width=80, record=True)
    console.print(clock.table(area_mm2=4))
    rows = [line.replace('│', ' ').split() for line in
            console.export_text().splitlines() if '│' in line]
    assert rows == [
        ['network', '8.00', '80.0%', '2.00', '15.00', '75.0%'],
        ['other', '2.00', '20.0%', '0.50', '5.00', '25.0%'],
        ['all', '10.00', '100.0%', '2.50', '20.00', '100.0%']]
