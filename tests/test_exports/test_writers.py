# Copyright (c) CellVTA-MMSeg contributors.
import csv
import gzip
import json
import tracemalloc
import uuid

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import tifffile
from cell_tables import BANDS, INFO, squares
from mmengine.structures import InstanceData
from skimage.draw import polygon2mask

from mmseg_cellvta.exports import (
    FORMATS,
    CellVitWriter,
    CsvWriter,
    GeoJsonWriter,
    GeoParquetWriter,
    LabelImageWriter,
)
from mmseg_cellvta.exports.writers import _inside, to_geojson_features, write_geojson

CLASSES = ('background', 'neutrophil', 'epithelial')
PALETTE = [[0, 0, 0], [255, 0, 0], [34, 221, 77]]
SQUARE = [[2, 3], [2, 6], [6, 6], [6, 3]]  # 5 x 4 px


def make_instances(contours, labels):
    probs = np.linspace(0, 1, 3 * len(labels), dtype=np.float32).reshape(-1, 3)
    return InstanceData(
        contours=[np.array(c, dtype=np.int32) for c in contours],
        labels=np.array(labels), class_probs=probs, scores=probs[:, 1])


def test_feature_is_a_qupath_detection():
    feature, _ = to_geojson_features(
        make_instances([SQUARE, [[20, 20]]], [2, 1]), CLASSES, PALETTE)
    assert feature['type'] == 'Feature'
    properties = feature['properties']
    assert properties['objectType'] == 'detection'
    assert properties['classification'] == dict(name='epithelial', color=[34, 221, 77])
    assert properties['measurements'] == dict(
        area_px=20.0, score=0.2, prob_background=0.0, prob_neutrophil=0.2,
        prob_epithelial=0.4)
    ring, = feature['geometry']['coordinates']
    assert feature['geometry']['type'] == 'Polygon' and ring[0] == ring[-1]


def test_file_is_a_feature_collection_of_valid_polygons(tmp_path):
    instances = make_instances([SQUARE, [[20, 20]], [[9, 9], [12, 12]]], [2, 1, 1])
    path = tmp_path / 'consep_1-0000.geojson'
    write_geojson(path, instances, CLASSES, PALETTE)
    content = json.loads(path.read_text())
    assert content['type'] == 'FeatureCollection' and len(content['features']) == 3
    for feature in content['features']:
        assert shapely.geometry.shape(feature['geometry']).is_valid
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_no_nuclei_make_an_empty_collection(tmp_path):
    empty = InstanceData(
        contours=[], labels=np.zeros(0, int), scores=np.zeros(0),
        class_probs=np.zeros((0, 3)))
    write_geojson(tmp_path / 'a.geojson', empty, CLASSES, PALETTE)
    content = json.loads((tmp_path / 'a.geojson').read_text())
    assert content == dict(type='FeatureCollection', features=[])


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'a.geojson'
    path.write_text('old')
    monkeypatch.setattr(json, 'dumps', lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_geojson(path, make_instances([SQUARE], [1]), CLASSES, PALETTE)
    assert path.read_text() == 'old'
    assert [p.name for p in tmp_path.iterdir()] == ['a.geojson']


def test_lists_that_do_not_belong_together_are_named():
    with pytest.raises(ValueError, match='2 classes and 3 palette colours .* 3 class'):
        to_geojson_features(make_instances([SQUARE], [1]), CLASSES[:2], PALETTE)


def check_rfc7946(collection):
    """Structure of a FeatureCollection of polygons (RFC 7946, sections 3 and 3.1.6)."""
    assert collection['type'] == 'FeatureCollection'
    for feature in collection['features']:
        assert feature['type'] == 'Feature'
        assert isinstance(feature['properties'], dict)
        assert isinstance(feature['id'], (str, int, float))
        geometry = feature['geometry']
        assert geometry['type'] == 'Polygon'
        for ring in geometry['coordinates']:
            assert len(ring) >= 4 and ring[0] == ring[-1]
            assert all(len(position) == 2 for position in ring)
            assert all(isinstance(x, (int, float)) for xy in ring for x in xy)


def write_features(path):
    with GeoJsonWriter(path, INFO) as writer:
        for band in BANDS:
            writer.write(band)
    opened = gzip.open if path.suffix == '.gz' else open
    with opened(path, 'rt', encoding='utf-8') as file:
        return json.load(file)


@pytest.mark.parametrize('name', ['cells.geojson', 'cells.geojson.gz'])
def test_every_cell_is_a_detection_that_qupath_takes(tmp_path, name):
    collection = write_features(tmp_path / name)
    check_rfc7946(collection)
    first, second, third = collection['features']
    assert first['geometry']['coordinates'] == [
        [[10, 20], [20, 20], [20, 30], [10, 30], [10, 20]]]
    assert second['geometry']['coordinates'][0][0] == [100, 20.5]
    assert third['properties'] == dict(
        objectType='detection',
        classification=dict(name='immune', color=[20, 30, 220]),
        measurements=dict(
            score=0.75, prob_background=0, prob_immune=0.75, prob_tumour=0.25,
            area_um2=6.25))


def test_ids_are_uuids_that_differ_and_stay(tmp_path):
    ids, again = (
        [feature['id'] for feature in write_features(tmp_path / name)['features']]
        for name in ('a.geojson', 'b.geojson'))
    assert ids == again and len({uuid.UUID(text) for text in ids}) == 3


def write_with(writer_class, path, bands=BANDS):
    with writer_class(path, INFO) as writer:
        for band in bands:
            writer.write(band)
    return path


def test_parquet_has_a_row_per_cell_and_knows_the_slide(tmp_path):
    table = pq.read_table(write_with(GeoParquetWriter, tmp_path / 'cells.parquet'))
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
    frame = geopandas.read_parquet(
        write_with(GeoParquetWriter, tmp_path / 'cells.parquet'))
    assert frame.geometry.is_valid.all() and frame.geometry.area.tolist() == [100] * 3
    assert frame.crs is None


def test_embeddings_are_lists_of_one_length(tmp_path):
    path = write_with(GeoParquetWriter, tmp_path / 'cells.parquet',
                 [squares([(0, 0), (50, 50)], embedding=3)])
    assert pq.read_table(path)['embedding'].to_pylist() == [[0, 1, 2], [3, 4, 5]]


def test_csv_has_centres_in_px_and_um(tmp_path):
    with open(write_with(CsvWriter, tmp_path / 'cells.csv'), newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['cell_id'] for row in rows] == ['1', '2', '3']
    assert (rows[1]['x_px'], rows[1]['y_px']) == ('105.0', '25.5')
    assert (rows[1]['x_um'], rows[1]['y_um']) == ('26.25', '6.375')
    assert rows[1]['class'] == 'tumour' and rows[1]['prob_immune'] == '0.25'


def test_cellvit_scripts_find_their_keys(tmp_path):
    content = json.loads(write_with(CellVitWriter, tmp_path / 'cells.json').read_text())
    assert content['type_map'] == {'0': 'background', '1': 'immune', '2': 'tumour'}
    assert content['wsi_metadata']['base_mpp'] == 0.25
    assert content['cells'][1] == dict(
        bbox=[[20.5, 100], [30.5, 110]], centroid=[105, 25.5],
        contour=[[100, 20.5], [110, 20.5], [110, 30.5], [100, 30.5]],
        type_prob=0.75, type=2)
    assert np.shape(content['cells'][0]['contour']) == (4, 2)


def test_pixels_are_ids_of_the_cells_around_them(tmp_path):
    with LabelImageWriter(tmp_path / 'labels.ome.tiff', INFO) as writer:
        writer.write(squares([(10, 20), (505, 507), (15, 25)]))
        writer.write(squares([(895, 695), (-5, -5)]))  # over the slide's borders
    expected = np.zeros(INFO.shape, np.uint32)
    expected[25:35, 15:25] = 3
    expected[20:30, 10:20] = 1  # the first one keeps what two share
    expected[507:517, 505:515], expected[695:, 895:], expected[:5, :5] = 2, 4, 5
    with tifffile.TiffFile(tmp_path / 'labels.ome.tiff') as tiff:
        np.testing.assert_array_equal(tiff.asarray(), expected)
        assert tiff.pages[0].is_tiled
        assert 'PhysicalSizeX="0.25"' in tiff.ome_metadata


def test_a_ring_holds_the_pixels_that_scikit_image_finds():
    rng = np.random.default_rng(0)
    for _ in range(50):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radii = rng.uniform(4, 14, 12)[:, None]
        # Off the pixel centres, where both may decide as they like.
        ring = 16.03 + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        ring = np.concatenate([ring, ring[:1]])
        expected = polygon2mask((32, 32), ring[:, ::-1] - 0.5)
        np.testing.assert_array_equal(_inside(ring, 32, 32), expected)


def write(name, folder, bands, info=INFO):
    suffix, writer_class = FORMATS[name]
    path = folder / f'{info.name}{suffix}'
    with writer_class(path, info) as writer:
        for band in bands:
            writer.write(band)
        assert not path.exists()
    return path


@pytest.mark.parametrize('name', FORMATS)
def test_equal_cells_make_equal_files_and_nothing_else(name, tmp_path):
    paths = []
    for folder in (tmp_path / 'one', tmp_path / 'two'):
        folder.mkdir()
        paths.append(write(name, folder, BANDS))
        assert list(folder.iterdir()) == paths[-1:]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize('name', FORMATS)
def test_after_an_error_there_is_no_file(name, tmp_path):
    def broken():
        yield BANDS[0]
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        write(name, tmp_path, broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.parametrize('bands', [[], [squares([])]])
def test_a_slide_without_cells_has_a_file_too(name, bands, tmp_path):
    assert write(name, tmp_path, bands).stat().st_size > 0


@pytest.mark.parametrize('name', FORMATS)
def test_memory_does_not_follow_the_number_of_cells(name, tmp_path):
    corners = np.random.default_rng(0).uniform(0, 600, (500, 2))
    band = squares(np.round(corners))

    def peak(num_bands):
        tracemalloc.start()
        write(name, tmp_path, (band for _ in range(num_bands))).unlink()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)
    assert peak(12) < 1.3 * peak(3) + 2**18
