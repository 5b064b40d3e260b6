# Copyright (c) CellVTA-MMSeg contributors.
import time

import pytest
from rich.console import Console

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


def test_the_table_names_stages_shares_and_the_rest():
    clock = StageClock()
    clock.start -= 10
    clock.cpu_start -= 20
    clock.seconds['network'] += 8
    clock.cpu_seconds['network'] += 15
    console = Console(width=80, record=True)
    console.print(clock.table(area_mm2=4))
    lines = console.export_text().splitlines()
    network, other, total = (
        next(line for line in lines if name in line)
        for name in ('network', 'other', ' all'))
    assert '8.00' in network and '80.0%' in network and '2.00' in network
    assert '2.00' in other and '20.0%' in other
    assert '10.00' in total and '100.0%' in total and '2.50' in total
    assert '15.00' in network and '75.0%' in network
    assert '5.00' in other and '25.0%' in other
