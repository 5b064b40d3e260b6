# Copyright (c) CellVTA-MMSeg contributors.
import json

import pytest
from run_tool import run_tool


@pytest.fixture
def metrics(tmp_path):
    paths = [tmp_path / f'split{number}.json' for number in (1, 2, 3)]
    for path in paths:
        path.write_text(json.dumps({'cell/mPQ': 0.5, 'cell/PQ_dead': 0.25}))
    return paths


def summarize(*args):
    return run_tool('analysis_tools/summarize_folds.py', *args)


def test_the_table_is_printed_and_written_twice(metrics, tmp_path, capsys):
    assert summarize(
        *metrics, '--published', 'pannuke', '--out', tmp_path / 'of.three') == 0
    text = (tmp_path / 'of.three.md').read_text()
    assert text in capsys.readouterr().out
    row = '| mPQ | mean over images | 0.5000 | 0.5000 | 0.5000 | 0.5000 | 0.5063 |'
    assert row in text
    assert '0.2500 / – | 0.1846 / 0.3793 |' in text
    table = (tmp_path / 'of.three.csv').read_text().splitlines()
    assert table[1] == 'mPQ,mean over images,0.5,0.5,0.5,0.5,0.5063,0.4961'


def test_without_a_data_set_there_are_no_published_columns(metrics, capsys):
    assert summarize(*metrics[:1]) == 0
    assert '| All nuclei | averaging | fold 1 | mean |' in capsys.readouterr().out


def test_what_is_wrong_is_said_in_a_sentence_and_nothing_is_written(metrics, tmp_path):
    metrics[1].write_text(json.dumps({'cell/PQ_other': 0.5}))
    code = summarize(*metrics, '--out', tmp_path / 'table')
    assert code.startswith('error: ') and 'split2.json: has the classes other' in code
    assert not list(tmp_path.glob('table*'))
    assert summarize(*metrics, '--out', tmp_path / 'none' / 'table') == 2
    assert summarize() == 2
