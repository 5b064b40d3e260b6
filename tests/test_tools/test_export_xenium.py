# Copyright (c) CellVTA-MMSeg contributors.
import json

import numpy as np
import pytest
import tenx_rules
from cell_tables import BANDS, INFO
from run_tool import run_tool

from mmseg_cellvta.exports import GeoParquetWriter

# A quarter turn, twice as large, and moved.
TRANSFORM = '0,-2,1500\n2,0,30\n0,0,1\n'


@pytest.fixture
def parquet(tmp_path):
    with GeoParquetWriter(tmp_path / 'slide.parquet', INFO) as writer:
        for band in BANDS:
            writer.write(band)
    (tmp_path / 'alignment.csv').write_text(TRANSFORM)
    return tmp_path / 'slide.parquet'


def export(*args):
    return run_tool('analysis_tools/export_xenium.py', *args)


def first_corner(path):
    assert tenx_rules.xenium_geojson(path) == []
    features = json.loads(path.read_text())['features']
    assert len(features) == 3
    return features[0]['geometry']['coordinates'][0][0]


@pytest.mark.parametrize('options, corner', [
    ([], [10, 20]),
    (['--transform', 'alignment.csv'], [1460, 50]),
    (['--units', 'microns'], [2.125, 4.25]),
    (['--transform', 'alignment.csv', '--units', 'microns'], [310.25, 10.625]),
    (['--units', 'microns', '--pixel-size', '0.5'], [5, 10])])
def test_cells_are_brought_to_the_other_image(
        parquet, tmp_path, monkeypatch, capsys, options, corner):
    monkeypatch.chdir(tmp_path)
    assert tenx_rules.xenium_transform(tmp_path / 'alignment.csv') == []
    assert export(parquet, 'out.geojson', *options) == 0
    np.testing.assert_allclose(first_corner(tmp_path / 'out.geojson'), corner)
    units = 'microns' if 'microns' in options else 'pixels'
    assert f'out.geojson: 3 cells; tell xeniumranger --units {units}' in (
        capsys.readouterr().out)


@pytest.mark.parametrize('content', [
    '', '1,0,0\n0,1,0\n', '1,0\n0,1\n0,0\n', 'a,b,c\n0,1,0\n0,0,1\n',
    '1,0,0\n0,1,0\n0,0,2\n', '1;0;0\n0;1;0\n0;0;1\n', '1,nan,0\n0,1,0\n0,0,1\n'])
def test_what_is_no_alignment_is_refused(parquet, tmp_path, content):
    (tmp_path / 'alignment.csv').write_text(content)
    code = export(parquet, tmp_path / 'out.geojson', '--transform',
                  tmp_path / 'alignment.csv')
    assert 'alignment.csv: expected three rows of three numbers' in code
    assert not (tmp_path / 'out.geojson').exists()
    if 'nan' not in content:
        assert tenx_rules.xenium_transform(tmp_path / 'alignment.csv')


def test_what_is_no_table_of_cells_is_refused(parquet, tmp_path):
    code = export(tmp_path / 'alignment.csv', tmp_path / 'out.geojson')
    assert 'alignment.csv: is no file that tools/infer.py wrote' in code


@pytest.mark.parametrize('out, options, message', [
    ('slide.parquet', [], 'exists already'),
    ('out.json', [], 'knows a file by .geojson'),
    ('out.geojson', ['--transform', 'none.csv'], 'none.csv: no such file'),
    ('out.geojson', ['--pixel-size', '0'], '--pixel-size 0: expected')])
def test_wrong_options_are_named(parquet, tmp_path, capsys, out, options, message):
    assert export(parquet, tmp_path / out, *options) == 2
    assert message in capsys.readouterr().err
