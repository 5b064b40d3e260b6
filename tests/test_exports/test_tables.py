# Copyright (c) CellVTA-MMSeg contributors.
"""GeoParquet, CSV and CellViT's JSON hold what the tables hold."""
import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from cell_tables import BANDS, INFO, squares

from mmseg_cellvta.exports import CellVitWriter, CsvWriter, GeoParquetWriter


def write(writer_class, path, bands=BANDS):
    with writer_class(path, INFO) as writer:
        for band in bands:
            writer.write(band)
    return path


def test_parquet_has_a_row_per_cell_and_knows_the_slide(tmp_path):
    table = pq.read_table(write(GeoParquetWriter, tmp_path / 'cells.parquet'))
    assert table.column_names == [
        'cell_id', 'geometry', 'x_px', 'y_px', 'label', 'class', 'score',
        'prob_background', 'prob_immune', 'prob_tumour', 'area_um2']
    assert table['cell_id'].to_pylist() == [1, 2, 3]
    assert table['class'].to_pylist() == ['immune', 'tumour', 'immune']
    assert table['x_px'].to_pylist() == [15, 105, 35]
    polygons = shapely.from_wkb(table['geometry'].to_numpy())
    assert polygons[1].equals(shapely.box(100, 20.5, 110, 30.5))
    about = json.loads(table.schema.metadata[b'cells'])
    assert about['mpp'] == 0.25 and about['classes'] == list(INFO.classes)
    geo = json.loads(table.schema.metadata[b'geo'])
    assert geo['columns']['geometry']['encoding'] == 'WKB'


def test_geopandas_opens_it(tmp_path):
    geopandas = pytest.importorskip('geopandas', reason='the extra "export" is missing')
    frame = geopandas.read_parquet(write(GeoParquetWriter, tmp_path / 'cells.parquet'))
    assert frame.geometry.is_valid.all() and frame.geometry.area.tolist() == [100] * 3
    assert frame.crs is None


def test_embeddings_are_lists_of_one_length(tmp_path):
    path = write(GeoParquetWriter, tmp_path / 'cells.parquet',
                 [squares([(0, 0), (50, 50)], embedding=3)])
    assert pq.read_table(path)['embedding'].to_pylist() == [[0, 1, 2], [3, 4, 5]]


def test_csv_has_centres_in_px_and_um(tmp_path):
    with open(write(CsvWriter, tmp_path / 'cells.csv'), newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['cell_id'] for row in rows] == ['1', '2', '3']
    assert (rows[1]['x_px'], rows[1]['y_px']) == ('105.0', '25.5')
    assert (rows[1]['x_um'], rows[1]['y_um']) == ('26.25', '6.375')
    assert rows[1]['class'] == 'tumour' and rows[1]['prob_immune'] == '0.25'


def test_cellvit_scripts_find_their_keys(tmp_path):
    content = json.loads(write(CellVitWriter, tmp_path / 'cells.json').read_text())
    assert content['type_map'] == {'0': 'background', '1': 'immune', '2': 'tumour'}
    assert content['wsi_metadata']['base_mpp'] == 0.25
    assert content['cells'][1] == dict(
        bbox=[[20.5, 100], [30.5, 110]], centroid=[105, 25.5],
        contour=[[100, 20.5], [110, 20.5], [110, 30.5], [100, 30.5]],
        type_prob=0.75, type=2)
    assert np.shape(content['cells'][0]['contour']) == (4, 2)
