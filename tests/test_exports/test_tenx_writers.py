# Copyright (c) CellVTA-MMSeg contributors.
import json
from dataclasses import replace

import numpy as np
import pytest
import shapely
import tenx_rules
import tifffile
from cell_tables import BANDS, INFO, squares
from grown_cells import grow

from mmseg_cellvta.exports import FORMATS
from mmseg_cellvta.structures import CellTable
from mmseg_cellvta.structures.shared_outlines import shared_outlines

WRITERS = {end: writer for files in FORMATS.values() for end, writer in files.items()}


def grown_cells(scale=1.0):
    """Cells that touch each other, around nuclei of 6 x 6 px, px / `scale`."""
    seeds = np.zeros((700, 900), np.int32)
    for number, (row, col) in enumerate(np.ndindex(20, 30)):
        shift = number % 4
        seeds[12 * row + shift:12 * row + 6 + shift, 13 * col:13 * col + 6] = number + 1
    nuclei, cells = (shared_outlines(own, scale=(scale, scale))
                     for own in grow(seeds, 5.0)[:2])
    num = len(nuclei)
    probs = np.tile(np.array([[0, 0.25, 0.75]], np.float32), (num, 1))
    return CellTable(
        centroids=np.array([ring.mean(axis=0) for ring in nuclei]),
        labels=np.full(num, 2), scores=probs[:, 2], class_probs=probs,
        outlines=nuclei, cell_outlines=cells)


CELLS = grown_cells()


def write(end, folder, tables, **options):
    path = folder / f'slide{end}'
    with WRITERS[end](path, INFO, **options) as writer:
        for table in tables:
            writer.write(table)
    return path


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize('tables', [[CELLS], BANDS, [squares([])]])
def test_space_ranger_takes_the_polygons(tmp_path, tables):
    path = write('_spaceranger.geojson', tmp_path, tables)
    assert tenx_rules.spaceranger_geojson(path) == []
    features = read(path)['features']
    assert [feature['properties']['cell_id'] for feature in features] == list(
        range(1, sum(map(len, tables)) + 1))


@pytest.mark.parametrize('tables', [[CELLS], [CELLS.select(np.arange(9)), CELLS]])
def test_polygons_are_the_whole_cells(tmp_path, tables):
    features = read(write('_spaceranger.geojson', tmp_path, tables))['features']
    rings = [ring.tolist() for table in tables for ring in table.cell_outlines]
    assert [feature['geometry']['coordinates'] for feature in features] == [
        [ring] for ring in rings]


@pytest.mark.parametrize('scale', [1.0, 0.73])
def test_the_label_image_is_the_polygons_drawn(tmp_path, scale):
    cells = grown_cells(scale)
    path = write('_spaceranger.tiff', tmp_path, [cells])
    assert tenx_rules.spaceranger_mask(path, INFO.shape) == []
    labels = tifffile.imread(path)
    assert labels.max() == len(cells) == 600
    features = read(write('_spaceranger.geojson', tmp_path, [cells]))['features']
    polygons = [shapely.geometry.shape(feature['geometry']) for feature in features]
    rows, cols = np.mgrid[:260, :400]
    tree = shapely.STRtree(polygons)
    pixels, owners = tree.query(
        shapely.points(cols.ravel() + 0.5, rows.ravel() + 0.5), predicate='within')
    drawn = np.zeros((260, 400), int)
    drawn.flat[pixels] = owners + 1
    pixels, _ = tree.query(
        shapely.points(cols.ravel() + 0.5, rows.ravel() + 0.5), predicate='touches')
    inside = np.ones(drawn.shape, bool)
    inside.flat[pixels] = False  # centres on a border belong to either side
    assert inside.mean() > 0.9
    np.testing.assert_array_equal(labels[:260, :400][inside], drawn[inside])
    assert not labels[300:].any()


def test_where_nuclei_overlap_the_later_one_counts(tmp_path):
    path = write('_spaceranger.tiff', tmp_path, [squares([(10, 20), (15, 25)])])
    expected = np.zeros(INFO.shape, np.uint32)
    expected[20:30, 10:20], expected[25:35, 15:25] = 1, 2
    np.testing.assert_array_equal(tifffile.imread(path), expected)


@pytest.mark.parametrize('tables', [[CELLS], BANDS, [squares([])]])
def test_xenium_ranger_takes_cells_and_nuclei(tmp_path, tables):
    path = write('_xenium.geojson', tmp_path, tables)
    assert tenx_rules.xenium_geojson(path, INFO.shape[::-1]) == []
    assert len(read(path)['features']) == sum(map(len, tables))


def test_xenium_ranger_gets_no_triangles(tmp_path):
    triangle = np.array([(0, 0), (4, 0), (0, 4), (0, 0)], float)
    outlines = [triangle, *CELLS.outlines[1:]]
    path = write('_xenium.geojson', tmp_path, [replace(CELLS, outlines=outlines)])
    numbers = [feature['properties']['cell_id'] for feature in read(path)['features']]
    assert numbers == list(range(2, 601))


def test_a_transform_moves_cells_and_nuclei(tmp_path):
    matrix = np.array([[0, -2, 100], [2, 0, 5], [0, 0, 1]])
    plain, moved = (
        read(write('_xenium.geojson', tmp_path, [CELLS], transform=transform))[
            'features'] for transform in (None, matrix))
    for before, after in zip(plain, moved, strict=True):
        for name in ('geometry', 'nucleusGeometry'):
            x, y = np.array(before[name]['coordinates'][0]).T
            np.testing.assert_allclose(
                after[name]['coordinates'][0],
                np.stack([100 - 2 * y, 5 + 2 * x], axis=1), atol=1e-3)


def break_json(change):
    """Returns what spoils a file: changes its content, and writes it again."""
    def spoil(path):
        content = read(path)
        content = change(content) or content
        path.write_text(json.dumps(content))
        return path

    return spoil


def first(change):
    """The same with its first feature."""
    return break_json(lambda content: change(content['features'][0]))


def rename(suffix):
    return lambda path: path.rename(path.with_suffix(suffix))


def set_geometry(**geometry):
    return first(lambda feature: feature.update(geometry=geometry))


SQUARE = [[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]
FAR_SQUARE = [[600, 600], [609, 600], [609, 609], [600, 600]]


@pytest.mark.parametrize('problem, spoil', [
    ('name ends otherwise', rename('.json')),
    ('a list', break_json(lambda content: content['features'])),
    ('extra keys', break_json(lambda content: content.update(crs={}))),
    ('no FeatureCollection', break_json(lambda content: content.update(type='Other'))),
    ('no Feature', first(lambda feature: feature.update(type='Polygon'))),
    ('id is neither', first(lambda feature: feature.update(id=None))),
    ('properties are', first(lambda feature: feature.update(properties=None))),
    ('called geometry', first(lambda feature: feature['properties'].update(
        geometry=1))),
    ('name is no text', first(lambda feature: feature['properties'].update(name=1))),
    ('no polygon', set_geometry(type='Point', coordinates=[1, 2])),
    ('no polygon', first(lambda feature: feature.pop('geometry') and None)),
    ('no ring', set_geometry(type='Polygon', coordinates=[])),
    ('no numbers', set_geometry(type='Polygon', coordinates=[[['1', 2]] * 4])),
    ('not one part', set_geometry(
        type='MultiPolygon', coordinates=[[SQUARE], [FAR_SQUARE]])),
    ('overlap', break_json(lambda content: content['features'].append(
        content['features'][0])))])
def test_rules_of_space_ranger_for_polygons_can_be_broken(tmp_path, problem, spoil):
    path = spoil(write('_spaceranger.geojson', tmp_path, [CELLS]))
    assert problem in '; '.join(tenx_rules.spaceranger_geojson(path))


@pytest.mark.parametrize('problem, change', [
    ('2 pages', lambda labels: np.stack([labels] * 2)),
    ('3 channels', lambda labels: np.stack([labels] * 3, axis=-1)),
    ('int32', lambda labels: labels.astype(np.int32)),
    ('float32', lambda labels: labels.astype(np.float32)),
    ('uint8', lambda labels: np.minimum(labels, 255).astype(np.uint8)),
    ('(699, 900) px', lambda labels: labels[1:]),
    ('gaps', lambda labels: labels * 2)])
def test_rules_of_space_ranger_for_label_images_can_be_broken(
        tmp_path, problem, change):
    path = write('_spaceranger.tiff', tmp_path, [CELLS])
    labels = change(tifffile.imread(path))
    photometric = 'rgb' if labels.shape[-1] == 3 else 'minisblack'
    tifffile.imwrite(path, labels, photometric=photometric)
    assert problem in '; '.join(tenx_rules.spaceranger_mask(path, INFO.shape))


def test_a_label_image_by_another_name_is_not_taken(tmp_path):
    path = write('_spaceranger.tiff', tmp_path, [CELLS])
    path = path.rename(path.with_suffix('.TIFF'))
    assert tenx_rules.spaceranger_mask(path, INFO.shape) == ['the name ends otherwise']


@pytest.mark.parametrize('problem, spoil', [
    ('no FeatureCollection', break_json(lambda content: content['features'])),
    ('no cell', first(lambda feature: feature['properties'].update(
        objectType='detection'))),
    ('without nuclei', first(lambda feature: feature.pop('nucleusGeometry') and None)),
    ('no polygon', set_geometry(type='MultiPolygon', coordinates=[[SQUARE]])),
    ('no numbers', set_geometry(type='Polygon', coordinates=[[[None, 2]] * 4])),
    ('open', set_geometry(type='Polygon', coordinates=[SQUARE[:-1]])),
    ('three points', set_geometry(type='Polygon', coordinates=[FAR_SQUARE])),
    ('outside', set_geometry(type='Polygon', coordinates=[
        (np.array(SQUARE) + 895).tolist()]))])
def test_rules_of_xenium_ranger_can_be_broken(tmp_path, problem, spoil):
    path = spoil(write('_xenium.geojson', tmp_path, [CELLS]))
    assert problem in '; '.join(
        tenx_rules.xenium_geojson(path, INFO.shape[::-1]))
