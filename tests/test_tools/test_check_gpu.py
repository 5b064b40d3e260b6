# Copyright (c) CellVTA-MMSeg contributors.
import json
import math

import pytest
import torch
from rule_segmentor import draw_slide
from run_tool import run_tool
from slide_files import write_slide

from mmseg_cellvta.utils import gpu_check
from mmseg_cellvta.utils.cases import Case, Result

TOOL = 'analysis_tools/check_gpu.py'


@pytest.fixture
def report(tmp_path):
    """Runs the tool and returns its exit code and what it wrote."""
    def run(*args):
        out = tmp_path / 'gpu.json'
        code = run_tool(TOOL, '--quick', '--out', out, *args)
        return code, json.loads(out.read_text())

    return run


@pytest.mark.parametrize('device', [
    'cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
def test_a_tiny_model_is_checked_in_seconds(report, capsys, device):
    code, written = report('--device', device)
    printed = capsys.readouterr().out
    assert code == 0 and 'nothing found wrong' in printed
    assert written['machine']['torch'] == torch.__version__
    assert written['machine']['mmcv'].split()[0] in printed
    rows = {(row['part'], row['case']): row for row in written['cases']}
    assert all(row['figures'] for row in rows.values()), rows
    for form in ('normal form', 'deploy form'):
        for dtype in ('float32', 'bfloat16', 'float16'):
            assert rows['forward', f'{form}, {dtype}']['figures']['images_per_s'] > 0
    for name in ('float32', 'bfloat16', 'with_cp, float32', 'with_cp, bfloat16'):
        assert rows['training step', name]['figures']['loss'] > 0


def test_a_slide_says_how_long_the_network_was_idle(report, tmp_path, monkeypatch):
    path = write_slide(tmp_path / 'drawn.tif', draw_slide(300, 400)[0], mpp=0.5)
    every = gpu_check.all_cases
    monkeypatch.setattr(gpu_check, 'all_cases', lambda setup: [
        case for case in every(setup) if case.part == 'slide'])
    code, written = report('--device', 'cpu', '--slide', path)
    row, = written['cases']
    assert (code, row['case']) == (0, 'drawn.tif') and 'random' in row['remark']
    figures = row['figures']
    assert 0 <= figures['idle_share'] < 1
    assert figures['mm2'] == pytest.approx(0.03)
    assert figures['s_per_mm2'] > 0 and figures['stages_s']


@pytest.mark.parametrize(('broken', 'expected'), [(False, 0), (True, 1)])
def test_only_a_wrong_result_is_exit_code_1(
        report, capsys, monkeypatch, broken, expected):
    monkeypatch.setattr(gpu_check, 'all_cases', lambda setup: [
        Case('op', 'one', lambda: Result(
            dict(ms=1.23, apart=math.nan), 'see [there]', broken)),
        Case('op', 'two', lambda: 1 / 0)])
    code, written = report('--device', 'cpu')
    printed = capsys.readouterr().out
    assert code == expected and ('WRONG: op, one' in printed) == broken
    assert 'see [there]' in printed and 'ZeroDivisionError' in printed
    assert '2 rows, 1 without figures' in printed
    assert [row['broken'] for row in written['cases']] == [broken, False]
    assert written['cases'][0]['figures'] == dict(ms=1.23, apart=None)
    assert 'nan' in printed


def test_rows_that_no_longer_fit_are_listed(report, capsys):
    code, written = report('--device', 'cpu', '--minutes', 0)
    assert code == 0 and len(written['cases']) == 13
    assert all('left out' in row['remark'] for row in written['cases'])


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_cuda_where_there_is_none_is_one_sentence(capsys):
    assert run_tool(TOOL, '--device', 'cuda') == 2
    said = capsys.readouterr().err
    assert '--device cuda: no such device; this machine has cpu' in said


@pytest.mark.parametrize('option', ['--config', '--slide'])
def test_a_missing_file_is_one_sentence(capsys, option):
    assert run_tool(TOOL, option, 'gone') == 2
    assert 'gone: no such file' in capsys.readouterr().err
