# Copyright (c) CellVTA-MMSeg contributors.
import re
import runpy
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / 'tools/analysis_tools/benchmark_numpy.py'


def test_every_step_is_timed_on_a_tile_of_a_thousand_nuclei(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [str(SCRIPT), '--runs', '1'])
    try:
        runpy.run_path(str(SCRIPT), run_name='__main__')
    except SystemExit as stop:
        assert stop.code == 0  # without --check, slow machines pass
    printed = capsys.readouterr().out
    found, quality = re.search(r'(\d+) found, PQ ([\d.]+)', printed).groups()
    assert 900 < int(found) < 1100 and float(quality) > 0.8
    for step in ('post-processing', 'HV target', 'panoptic quality'):
        seconds = float(re.search(rf'\| {step} \| ([\d.]+)', printed).group(1))
        assert 0 < seconds < 10
