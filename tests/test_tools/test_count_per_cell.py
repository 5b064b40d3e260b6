# Copyright (c) CellVTA-MMSeg contributors.
import sys

import numpy as np
import pytest
from cell_tables import INFO
from run_tool import run_tool
from visium_hd_run import write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path, INFO.mpp, (60, 60), np.ones((3600, 3), int))


def count(*args):
    return run_tool('analysis_tools/count_per_cell.py', *args)


def test_a_line_says_what_was_counted(parquet, run, tmp_path, capsys):
    pytest.importorskip('anndata', reason='the extra "export" is missing')
    out = tmp_path / 'counts.h5ad'
    assert count(parquet, run, out) == 0
    # Of centres at 4, 12, 20, ... px: one in 10-20, 20-30, 100-110, 30-40; 28 on a line
    # of 20.5-30.5.
    assert f'{out}: 3 cells, 3 genes, 9 molecules in 3 squares' in (
        capsys.readouterr().out)


@pytest.mark.parametrize('names, message', [
    (('none.parquet', 'binned_outputs', 'out.h5ad'), 'none.parquet: no such file'),
    (('slide.parquet', 'none', 'out.h5ad'), 'none: no such folder'),
    (('slide.parquet', 'binned_outputs', 'slide.parquet'), 'exists already')])
def test_wrong_paths_are_named(parquet, run, tmp_path, capsys, names, message):
    assert count(*(tmp_path / name for name in names)) == 2
    assert message in capsys.readouterr().err


def test_what_is_no_run_is_named(parquet, run, tmp_path):
    pytest.importorskip('anndata', reason='the extra "export" is missing')
    said = count(parquet, run.parent, tmp_path / 'out.h5ad')
    assert said.startswith('error: ') and 'filtered_feature_bc_matrix.h5' in said
    assert not (tmp_path / 'out.h5ad').exists()


def test_a_missing_package_is_named(parquet, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'anndata', None)
    code = count(parquet, run, tmp_path / 'out.h5ad')
    assert code.startswith('error: ') and 'pip install anndata' in code
