# Copyright (c) CellVTA-MMSeg contributors.
import csv
import gzip
import json
import tracemalloc
import uuid
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import tifffile
from cell_tables import BANDS, INFO, squares
from skimage.draw import polygon2mask

from mmseg_cellvta.exports import FORMATS, read_parquet
from mmseg_cellvta.exports.label_image import _inside

WRITERS = {end: writer for files in FORMATS.values() for end, writer in files.items()}


def write(end, folder, bands=BANDS, info=INFO):
    """Writes a file; no file may be there before the last cell."""
    path = folder / f'{info.name}{end}'
    with WRITERS[end](path, info) as writer:
        for band in bands:
            writer.write(band)
        assert not path.exists()
    return path


def check_rfc7946(collection):
    """Structure of a FeatureCollection of polygons (RFC 7946, sections 3 and 3.1.6)."""
    assert collection['type'] == 'FeatureCollection'
    for feature in collection['features']:
        assert feature['type'] == 'Feature'
        assert isinstance(feature['properties'], dict)
        geometry = feature['geometry']
        assert geometry['type'] == 'Polygon'
        for ring in geometry['coordinates']:
            assert len(ring) >= 4 and ring[0] == ring[-1]
            assert all(len(position) == 2 for position in ring)
            assert all(isinstance(x, (int, float)) for xy in ring for x in xy)


@pytest.mark.parametrize('end', ['.geojson', '.geojson.gz'])
def test_every_cell_is_a_detection_that_qupath_takes(tmp_path, end):
    opened = gzip.open if end.endswith('.gz') else open
    with opened(write(end, tmp_path), 'rt', encoding='utf-8') as file:
        collection = json.load(file)
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
    assert len({uuid.UUID(feature['id']) for feature in collection['features']}) == 3


def test_parquet_has_a_row_per_cell_and_knows_the_slide(tmp_path):
    table = pq.read_table(write('.parquet', tmp_path))
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


def with_cells(table, border=4.0):
    """The same with square cells around the nuclei; the first cytoplasm is empty."""
    stains = np.arange(len(table), dtype=np.float32)
    stains[:1] = np.nan
    return replace(
        table, cell_outlines=[
            ring + border * np.sign(ring - ring.mean(axis=0) * 1.001)
            for ring in squares(table.centroids - 5).outlines],
        features=table.features | dict(cytoplasm_eosin_od=stains))


CELL_BANDS = [with_cells(band) for band in BANDS]


@pytest.mark.parametrize('end', ['.geojson', '.geojson.gz'])
def test_cells_around_nuclei_are_cells_with_a_nucleus_for_qupath(tmp_path, end):
    opened = gzip.open if end.endswith('.gz') else open
    with opened(write(end, tmp_path, CELL_BANDS), 'rt', encoding='utf-8') as file:
        collection = json.load(file, parse_constant=lambda name: pytest.fail(name))
    check_rfc7946(collection)
    first, second, _ = collection['features']
    assert list(second) == ['type', 'geometry', 'nucleusGeometry', 'properties', 'id']
    assert second['properties']['objectType'] == 'cell'
    nucleus, cell = (np.array(second[name]['coordinates'][0])
                     for name in ('nucleusGeometry', 'geometry'))
    assert nucleus.min(axis=0).tolist() == [100, 20.5]
    assert cell.min(axis=0).tolist() == [96, 16.5]
    assert second['properties']['measurements']['cytoplasm_eosin_od'] == 1
    assert 'cytoplasm_eosin_od' not in first['properties']['measurements']


def test_parquet_keeps_and_gives_back_cells_and_nuclei(tmp_path):
    path = write('.parquet', tmp_path, CELL_BANDS)
    table = pq.read_table(path)
    geo = json.loads(table.schema.metadata[b'geo'])
    assert list(geo['columns']) == ['geometry', 'cell_geometry']
    tables = list(read_parquet(path, 3))
    assert len(tables) == 2
    for found, expected in zip(tables, (CELL_BANDS[0], CELL_BANDS[2]), strict=True):
        assert found.features.keys() == expected.features.keys()
        for name in ('outlines', 'cell_outlines'):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    path.unlink()
    empty, = read_parquet(write('.parquet', tmp_path, CELL_BANDS[1:2]), 0)
    assert empty.cell_outlines == []
    path.unlink()
    nuclei, *_ = read_parquet(write('.parquet', tmp_path), 3)
    assert nuclei.cell_outlines is None


def test_geopandas_opens_parquet(tmp_path):
    geopandas = pytest.importorskip('geopandas', reason='the extra "export" is missing')
    path = write('.parquet', tmp_path)
    frame = geopandas.read_parquet(path)
    assert frame.geometry.is_valid.all() and frame.geometry.area.tolist() == [100] * 3
    assert frame.crs is None
    path.unlink()
    frame = geopandas.read_parquet(write('.parquet', tmp_path, CELL_BANDS))
    assert frame.geometry.area.tolist() == [100] * 3
    assert frame.cell_geometry.area.tolist() == [324] * 3


def test_embeddings_are_lists_of_one_length(tmp_path):
    path = write('.parquet', tmp_path, [squares([(0, 0), (50, 50)], embedding=3)])
    assert pq.read_table(path)['embedding'].to_pylist() == [[0, 1, 2], [3, 4, 5]]


def test_csv_has_centres_in_px_and_um(tmp_path):
    with open(write('_centroids.csv', tmp_path), newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['cell_id'] for row in rows] == ['1', '2', '3']
    assert (rows[1]['x_px'], rows[1]['y_px']) == ('105.0', '25.5')
    assert (rows[1]['x_um'], rows[1]['y_um']) == ('26.25', '6.375')
    assert rows[1]['class'] == 'tumour' and rows[1]['prob_immune'] == '0.25'


def test_cellvit_scripts_find_their_keys(tmp_path):
    content = json.loads(write('_cells.json', tmp_path).read_text())
    assert content['type_map'] == {'0': 'background', '1': 'immune', '2': 'tumour'}
    assert content['wsi_metadata']['base_mpp'] == 0.25
    assert content['cells'][1] == dict(
        bbox=[[20.5, 100], [30.5, 110]], centroid=[105, 25.5],
        contour=[[100, 20.5], [110, 20.5], [110, 30.5], [100, 30.5]],
        type_prob=0.75, type=2)


def test_pixels_are_ids_of_the_cells_around_them(tmp_path):
    path = write('_labels.ome.tiff', tmp_path, [
        squares([(10, 20), (505, 507), (15, 25)]),
        squares([(895, 695), (-5, -5)])])  # over the slide's borders
    expected = np.zeros(INFO.shape, np.uint32)
    expected[25:35, 15:25] = 3
    expected[20:30, 10:20] = 1  # the first one keeps what two share
    expected[507:517, 505:515], expected[695:, 895:], expected[:5, :5] = 2, 4, 5
    with tifffile.TiffFile(path) as tiff:
        np.testing.assert_array_equal(tiff.asarray(), expected)
        assert tiff.pages[0].is_tiled
        assert 'PhysicalSizeX="0.25"' in tiff.ome_metadata


def test_a_ring_holds_the_pixels_that_scikit_image_finds():
    rng = np.random.default_rng(0)
    for _ in range(50):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radii = rng.uniform(4, 14, 12)[:, None]
        # Off the pixel centres, where the two decide differently.
        ring = 16.03 + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        ring = np.concatenate([ring, ring[:1]])
        expected = polygon2mask((32, 32), ring[:, ::-1] - 0.5)
        np.testing.assert_array_equal(_inside(ring, 32, 32), expected)


@pytest.mark.parametrize('end', WRITERS)
def test_equal_cells_make_equal_files_and_nothing_else(end, tmp_path):
    paths = []
    for folder in (tmp_path / 'one', tmp_path / 'two'):
        folder.mkdir()
        paths.append(write(end, folder))
        assert list(folder.iterdir()) == paths[-1:]
    content = paths[0].read_bytes()
    assert content == paths[1].read_bytes()
    if end.endswith('.gz'):
        assert not any(content[4:8])  # time at which it was written, s


@pytest.mark.parametrize('end', WRITERS)
def test_after_an_error_there_is_no_file(end, tmp_path):
    def broken():
        yield BANDS[0]
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        write(end, tmp_path, broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('change, numbers', [
    (dict(classes=INFO.classes[:2]), '2 classes and 3 palette colours'),
    (dict(palette=INFO.palette[:2]), '3 classes and 2 palette colours'),
    (dict(classes=INFO.classes[:2], palette=INFO.palette[:2]), '2 .* and 2 palette')])
def test_classes_colours_and_probabilities_must_agree(change, numbers, tmp_path):
    with pytest.raises(ValueError, match=f'slide: {numbers} .* 3 class probabilities'):
        write('_centroids.csv', tmp_path, info=replace(INFO, **change))


@pytest.mark.parametrize('end', WRITERS)
@pytest.mark.parametrize('bands', [[], [squares([])]])
def test_a_slide_without_cells_has_a_file_too(end, bands, tmp_path):
    assert write(end, tmp_path, bands).stat().st_size > 0


@pytest.mark.parametrize('end', WRITERS)
def test_memory_does_not_follow_the_number_of_cells(end, tmp_path):
    corners = np.random.default_rng(0).uniform(0, 600, (500, 2))
    band = squares(np.round(corners))

    def peak(num_bands):
        tracemalloc.start()
        write(end, tmp_path, (band for _ in range(num_bands))).unlink()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)
    assert peak(12) < 1.3 * peak(3) + 2**18
