# Copyright (c) CellVTA-MMSeg contributors.
import sys

import cv2
import pytest
from cell_tables import INFO
from run_tool import run_tool
from slide_files import color_field


def export(*args):
    return run_tool('analysis_tools/export_spatialdata.py', *args)


def test_the_store_has_cells_and_image(parquet, tmp_path, capsys):
    spatialdata = pytest.importorskip(
        'spatialdata', reason='the extra "export" is missing')
    out, image = tmp_path / 'slide.zarr', tmp_path / 'slide.png'
    cv2.imwrite(str(image), color_field(*INFO.shape))
    assert export(parquet, out, '--image', image) == 0
    assert capsys.readouterr().out.endswith(f'{out}: 3 cells\n')
    names = {name for _, name, _ in spatialdata.read_zarr(out).gen_elements()}
    assert names == {'cells', 'cells_table', 'picture'}


@pytest.mark.parametrize('parquet_name, out, options, message', [
    ('none.parquet', 'slide.zarr', [], 'none.parquet: no such file'),
    ('slide.parquet', 'slide.zarr', ['--image', 'none.svs'], 'none.svs: no such file'),
    ('slide.parquet', 'none/slide.zarr', [], 'there is no folder'),
    ('slide.parquet', 'slide.parquet', [], 'slide.parquet: exists already; delete it')])
def test_wrong_paths_are_named(
        parquet, tmp_path, capsys, parquet_name, out, options, message):
    assert export(tmp_path / parquet_name, tmp_path / out, *options) == 2
    assert message in capsys.readouterr().err


def test_a_missing_package_is_named(parquet, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'spatialdata', None)
    code = export(parquet, tmp_path / 'slide.zarr')
    assert code.startswith('error: ') and 'pip install spatialdata' in code
