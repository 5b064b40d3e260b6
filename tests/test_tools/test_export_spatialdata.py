# Copyright (c) CellVTA-MMSeg contributors.
import sys

import cv2
import pytest
from cell_tables import BANDS, INFO
from run_tool import run_tool
from slide_files import color_field

from mmseg_cellvta.exports import GeoParquetWriter


@pytest.fixture
def parquet(tmp_path):
    with GeoParquetWriter(tmp_path / 'slide.parquet', INFO) as writer:
        for band in BANDS:
            writer.write(band)
    return tmp_path / 'slide.parquet'


def export(*args):
    return run_tool('analysis_tools/export_spatialdata.py', *args)


def test_the_store_has_cells_and_picture(parquet, tmp_path, capsys):
    spatialdata = pytest.importorskip(
        'spatialdata', reason='the extra "export" is missing')
    out, picture = tmp_path / 'slide.zarr', tmp_path / 'slide.png'
    cv2.imwrite(str(picture), color_field(*INFO.shape))
    assert export(parquet, out, '--picture', picture) == 0
    assert capsys.readouterr().out.endswith(f'{out}: 3 cells\n')
    names = {name for _, name, _ in spatialdata.read_zarr(out).gen_elements()}
    assert names == {'cells', 'cells_table', 'picture'}
    assert 'slide.zarr: exists already' in export(parquet, out)


def test_what_is_missing_is_named(parquet, tmp_path, monkeypatch):
    assert export(parquet, tmp_path / 'none/slide.zarr') == 2
    monkeypatch.setitem(sys.modules, 'spatialdata', None)
    code = export(parquet, tmp_path / 'slide.zarr')
    assert code.startswith('error: ') and 'pip install spatialdata' in code
