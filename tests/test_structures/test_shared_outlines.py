# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
import shapely
from grown_cells import grow

from mmseg_cellvta.datasets.labels import read_mat_labels
from mmseg_cellvta.structures.cell_table import ring_polygons
from mmseg_cellvta.structures.shared_outlines import shared_outlines


def outline(*rows, **place):
    mask = np.array([[char == '#' for char in row] for row in rows], np.uint8)
    (border,), _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    ring, = shared_outlines([border.reshape(-1, 2)], **place)
    assert (ring[0] == ring[-1]).all()
    return shapely.Polygon(ring)


def diamond(x, y):
    return shapely.Polygon([(x, y + 0.5), (x + 0.5, y), (x + 1, y + 0.5),
                            (x + 0.5, y + 1)])


@pytest.mark.parametrize('rows, expected', [
    (['#'], diamond(0, 0)),
    (['##'], shapely.convex_hull(diamond(0, 0) | diamond(1, 0))),
    (['#', '#'], shapely.convex_hull(diamond(0, 0) | diamond(0, 1))),
    (['##', '##'], shapely.Polygon([
        (0.5, 0), (1.5, 0), (2, 0.5), (2, 1.5), (1.5, 2), (0.5, 2), (0, 1.5),
        (0, 0.5)])),
    (['#.', '.#'], shapely.convex_hull(diamond(0, 0) | diamond(1, 1)))])
def test_an_outline_runs_through_the_middles_of_the_sides(rows, expected):
    assert outline(*rows).equals(expected)


def test_an_inner_corner_is_filled_and_only_bends_are_points():
    polygon = outline('####', '#...', '#...')
    assert polygon.equals(shapely.Polygon([
        (0.5, 0), (3.5, 0), (4, 0.5), (3.5, 1), (1.5, 1), (1, 1.5), (1, 2.5), (0.5, 3),
        (0, 2.5), (0, 0.5)]))
    assert len(polygon.exterior.coords) == 11


def test_a_window_lies_where_it_was_cut_and_is_scaled_from_the_corner_of_the_map():
    polygon = outline('#', offset=(100, 200), scale=(2, 0.5))
    assert polygon.equals(shapely.Polygon([(200, 100.25), (201, 100), (202, 100.25),
                                           (201, 100.5)]))


def test_no_border_no_outline():
    assert shared_outlines([]) == []


def random_labels(seed, shape=(120, 150), num=90):
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for inst_id in range(1, num + 1):
        y, x, size = *rng.integers(0, shape), rng.integers(3, 12)
        part = labels[y:y + size, x:x + size]
        part[rng.random(part.shape) < 0.85] = inst_id
    ids = np.unique(labels, return_inverse=True)[1]
    return ids.reshape(shape).astype(np.int32)


def check_cells(nuclei, cells):
    """Checks what holds of all cells; returns how many of them touch another."""
    assert shapely.is_valid(nuclei).all() and shapely.is_valid(cells).all()
    assert shapely.covers(cells, nuclei).all()
    first, second = shapely.STRtree(cells).query(cells, predicate='intersects')
    first, second = first[first < second], second[first < second]
    assert not shapely.area(shapely.intersection(cells[first], cells[second])).any()
    return len(first)


@pytest.mark.parametrize('scale', [(1, 1), (2.0046, 1.093), (0.5, 0.73), (0.25, 0.11)])
@pytest.mark.parametrize('seed', range(4))
def test_cells_share_no_area_and_hold_their_nuclei_to_the_last_digit(scale, seed):
    """Ragged ones, which touch and interlock."""
    labels = random_labels(seed)
    nuclei, cells = (
        ring_polygons(shared_outlines(borders, offset=(7, 1001), scale=scale))
        for borders in grow(labels, 3.0)[:2])
    assert check_cells(nuclei, cells) > 50
    corners = shapely.get_coordinates(cells) * (8 if min(scale) >= 0.25 else 32)
    np.testing.assert_array_equal(corners, np.round(corners))


@pytest.mark.parametrize('distance', [3.0, 18.2])
def test_cells_of_real_nuclei(shared_dir, distance):
    """The 27 training images of CoNSeP, 0.275 µm/px, with their true labels."""
    paths = sorted((shared_dir / 'data/CoNSeP/Train/Labels').glob('*.mat'))
    assert len(paths) == 27
    for path in paths:
        labels = np.unique(read_mat_labels(str(path))[0], return_inverse=True)[1]
        nuclei, cells = (
            ring_polygons(shared_outlines(borders))
            for borders in grow(labels.reshape(1000, 1000).astype(np.int32), distance)[
                :2])
        check_cells(nuclei, cells)
        points, owners = shapely.get_coordinates(cells, return_index=True)
        far = shapely.distance(nuclei[owners], shapely.points(points)).max()
        assert far <= distance + 0.5
