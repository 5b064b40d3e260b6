# Copyright (c) CellVTA-MMSeg contributors.
import csv
import io

import pytest

from mmseg_cellvta.analysis.ablation_table import AblationTable


def result(name='a', bpq=0.5, **changes):
    cost = dict(params=2_000_000, trainable_params=500_000, macs=3 * 10**9,
                forward_s=0.25, train_step_s=1.0, train_mib=300.4)
    return dict(name=name, metrics=dict(bPQ=bpq, mPQ=None, F1_det=0.75), cost=cost,
                train_s=90) | changes


@pytest.fixture
def table():
    table = AblationTable(dict(a=3, b=1))
    for bpq in (0.5, 0.25, 0.75):
        table.add(result(bpq=bpq))
    table.add_failure('b-seed0-1234', 'train_1.log: exit code 1\nValueError: no')
    return table


def test_seeds_become_a_mean_with_its_spread(table):
    row = table.to_markdown().splitlines()[2]
    # (0.0625 + 0.0625) / 2 is the variance of 0.25, 0.5 and 0.75.
    assert row.startswith('| a | 3/3 | 0.500 ± 0.250 | – | 0.750 ± 0.000 | ')
    assert row.endswith('| 2.000 | 0.500 | 3.00 | 250.0 | 1000.0 | 300 | 1.5 |')


def test_one_seed_has_no_spread():
    table = AblationTable(dict(a=1))
    table.add(result())
    assert '| a | 1/1 | 0.500 | – | 0.750 |' in table.to_markdown()


def test_a_failed_run_has_a_row_and_its_reason(table):
    text = table.to_markdown()
    assert '| b | 0/1 | – | – | – |' in text
    assert 'Failed: b-seed0-1234\n\n```\ntrain_1.log: exit code 1\nValueError: no\n' \
        in text


def test_csv_has_all_digits_and_empty_cells(table):
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [row['entry'] for row in rows] == ['a', 'b']
    assert (rows[0]['bPQ'], rows[0]['bPQ sd'], rows[0]['mPQ']) == ('0.5', '0.25', '')
    assert float(rows[0]['ms per picture']) == 250
    assert rows[1]['seeds done'] == '0' and rows[1]['bPQ'] == rows[1]['GMACs'] == ''
