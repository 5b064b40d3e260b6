# Copyright (c) CellVTA-MMSeg contributors.
"""What the tool adds to mmseg_cellvta/analysis; test_integration trains for real."""
import json

import pytest
import yaml
from run_tool import run_tool

from mmseg_cellvta.analysis.ablation_list import read_ablation_list
from mmseg_cellvta.analysis.ablation_runner import AblationRunner, RunFailed

COST = dict(params=1, trainable_params=1, macs=1, forward_s=1, train_step_s=1,
            train_mib=1)


@pytest.fixture
def ablate(tmp_path, monkeypatch):
    """Runs the tool over three entries of which the second fails."""
    (tmp_path / 'net.py').write_text('a = 1')
    (tmp_path / 'list.yml').write_text(yaml.safe_dump(dict(entries=[
        dict(name=name, config='net.py', options=dict(which=name))
        for name in ('first', 'bad', 'last')])))

    def run(runner, run):
        if run.name == 'bad':
            raise RunFailed('train_1.log: exit code 1')
        if run.name == 'last':
            assert '| first | 1/1 ' in (tmp_path / 'work/table.md').read_text()
        return dict(name=run.name, metrics=dict(bPQ=0.5), cost=COST, train_s=1)

    monkeypatch.setattr(AblationRunner, 'run', run)
    return lambda *args: run_tool(
        'analysis_tools/run_ablation.py', tmp_path / 'list.yml', tmp_path / 'work',
        *args)


def test_others_run_when_one_fails_and_the_exit_code_says_so(ablate, tmp_path, capsys):
    assert ablate() == 1
    text = (tmp_path / 'work/table.md').read_text()
    for line in ('| first | 1/1 | 0.500 |', '| bad | 0/1 |', '| last | 1/1 | 0.500 |',
                 'Failed: bad-seed0-'):
        assert line in text
    assert text in capsys.readouterr().out
    assert (tmp_path / 'work/table.csv').read_text().count('\n') == 4


def test_what_is_finished_is_not_run_again(ablate, tmp_path, monkeypatch, capsys):
    work = tmp_path / 'work'
    runs = read_ablation_list(tmp_path / 'list.yml')
    for run in runs:
        (work / run.folder).mkdir(parents=True)
        (work / run.folder / 'result.json').write_text(json.dumps(
            dict(name=run.name, metrics=dict(bPQ=0.25), cost=COST, train_s=1)))
    monkeypatch.delattr(AblationRunner, 'run')
    assert ablate() == 0
    assert capsys.readouterr().out.count(': was finished') == 3
    assert '| bad | 1/1 | 0.250 |' in (work / 'table.md').read_text()


def test_a_wrong_list_is_one_sentence(ablate, tmp_path):
    (tmp_path / 'list.yml').write_text('entries: []')
    assert ablate().startswith('error: ')
