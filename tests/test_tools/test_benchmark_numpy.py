# Copyright (c) CellVTA-MMSeg contributors.
import re

from run_tool import run_tool


def test_every_step_is_timed_on_a_tile_of_a_thousand_nuclei(capsys):
    # Without --check, slow machines pass.
    assert run_tool('analysis_tools/benchmark_numpy.py', '--runs', 1) == 0
    printed = capsys.readouterr().out
    found, quality = re.search(r'(\d+) found, PQ ([\d.]+)', printed).groups()
    assert 900 < int(found) < 1100 and float(quality) > 0.8
    for step in ('post-processing', 'post-processing, rising markers', 'HV target',
                 'panoptic quality'):
        seconds = float(re.search(rf'\| {step} \| ([\d.]+)', printed).group(1))
        assert 0 < seconds < 10
