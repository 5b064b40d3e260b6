# Copyright (c) CellVTA-MMSeg contributors.
import json
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from run_tool import run_tool
from tiny_models import SEGMENTOR

ROOT = Path(__file__).resolve().parents[2]
TOOL = 'analysis_tools/complexity.py'


def rows(printed):
    return [[cell.strip() for cell in line.strip('|').split('|')]
            for line in printed.splitlines() if line.startswith('|')][2:]


def test_configs_and_sizes_make_a_table_without_running_anything(capsys, tmp_path):
    out = tmp_path / 'cost.json'
    names = 'uni_conic', 'tiny_consep'
    configs = [ROOT / f'configs/cellvta_{name}.py' for name in names]
    assert run_tool(TOOL, *configs, '--size', 64, 128, '--device', 'meta', '--out',
                    out) == 0
    table = rows(capsys.readouterr().out)
    assert [row[:3] for row in table] == [
        [f'cellvta_{name}', f'{size} x {size}', '1']
        for name in names for size in (64, 128)]
    # Neither the class token's norm nor a tissue head is in the CoNIC model.
    assert table[0][3:5] == ['387.748', '84.399']
    assert {cell for row in table for cell in row[6:]} == {'–'}
    written = json.loads(out.read_text())
    assert [row['size'] for row in written] == [64, 128, 64, 128]
    assert 3.9 < written[1]['macs'] / written[0]['macs'] < 4.1


@pytest.mark.skipif(sys.platform != 'linux', reason='memory is read from /proc')
def test_time_and_memory_are_measured_on_the_cpu(capsys, tmp_path):
    config = tmp_path / 'tiny.py'
    Config(dict(
        model=SEGMENTOR, custom_imports=dict(imports=['mmseg_cellvta']),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
    )).dump(config)
    assert run_tool(TOOL, config, '--size', 64, '--device', 'cpu', '--batch', 2,
                    '--repeats', 1) == 0
    row, = rows(capsys.readouterr().out)
    milliseconds, images, step, memory, training = map(float, row[6:])
    assert images == pytest.approx(2000 / milliseconds, rel=0.05)
    assert step > milliseconds and training > memory > 0


def test_a_missing_config_is_one_sentence(capsys):
    assert run_tool(TOOL, 'gone.py', '--device', 'meta') == 2
    assert 'gone.py: no such config file' in capsys.readouterr().err
