# Copyright (c) CellVTA-MMSeg contributors.
from dataclasses import replace

import cv2
import numpy as np
import pytest
import shapely

from mmseg_cellvta.structures import CellTable, SlideInfo
from mmseg_cellvta.structures.cell_table import nucleus_outlines, ring_polygons

SQUARE = np.array([[2, 3], [2, 6], [6, 6], [6, 3]])  # 5 x 4 px


def triangle(corner, size=4.0):
    x, y = corner
    return np.array([(x, y), (x + size, y), (x, y + size), (x, y)])


def make_table(num, seed=0):
    rng = np.random.default_rng(seed)
    centroids = rng.uniform(0, 1e5, (num, 2))
    probs = rng.dirichlet(np.ones(3), num).astype(np.float32)
    return CellTable(
        centroids=centroids,
        labels=rng.integers(1, 3, num),
        scores=probs.max(axis=1) if num else np.zeros(0, np.float32),
        class_probs=probs.reshape(num, 3),
        outlines=[triangle(c, rng.integers(1, 9)) for c in centroids],
        features=dict(area_um2=rng.uniform(5, 90, num).astype(np.float32)),
        embeddings=rng.normal(size=(num, 4)).astype(np.float16))


def assert_same(table, other):
    for name in ('centroids', 'labels', 'scores', 'class_probs', 'embeddings'):
        np.testing.assert_array_equal(getattr(table, name), getattr(other, name))
        assert getattr(table, name).dtype == getattr(other, name).dtype
    assert (table.cell_outlines is None) == (other.cell_outlines is None)
    for name in ('outlines', 'cell_outlines'):
        for ring, same in zip(getattr(table, name) or [], getattr(other, name) or [],
                              strict=True):
            np.testing.assert_array_equal(ring, same)
    assert table.features.keys() == other.features.keys()
    for name, column in table.features.items():
        np.testing.assert_array_equal(column, other.features[name])


def with_cells(table):
    return replace(table, cell_outlines=[ring * 2 for ring in table.outlines])


@pytest.mark.parametrize('num', [0, 1, 7])
def test_cells_around_nuclei_are_saved_selected_joined_and_moved(tmp_path, num):
    table = with_cells(make_table(num))
    table.save(tmp_path / 'band.npz')
    assert_same(CellTable.load(tmp_path / 'band.npz'), table)
    odd = np.arange(num) % 2 == 1
    parts = table.select(~odd), table.select(odd)
    order = np.argsort(np.concatenate([np.flatnonzero(~odd), np.flatnonzero(odd)]))
    assert_same(CellTable.concatenate(parts).select(order), table)
    moved = table.moved((3, -5))
    for ring, before in zip(moved.cell_outlines, table.cell_outlines, strict=True):
        np.testing.assert_array_equal(ring, before + (3, -5))


@pytest.mark.parametrize('num', [0, 1, 7])
def test_a_saved_table_comes_back_and_leaves_no_other_file(tmp_path, num):
    table = make_table(num)
    table.save(tmp_path / 'band.npz')
    assert_same(CellTable.load(tmp_path / 'band.npz'), table)
    assert [path.name for path in tmp_path.iterdir()] == ['band.npz']


def test_parts_of_a_table_make_the_whole():
    table = make_table(6)
    head, tail = table.select(np.arange(6) < 2), table.select(np.array([2, 3, 4, 5]))
    assert (len(head), len(tail)) == (2, 4)
    assert_same(CellTable.concatenate([head, tail]), table)
    assert len(table.select(np.zeros(6, bool))) == 0


def test_without_embeddings_their_width_is_0():
    assert replace(make_table(3), embeddings=None).embeddings.shape == (3, 0)


@pytest.mark.parametrize('classes', [
    ('background', 'a', 'a'), ('background', 'a', 'A'), ('background', 'a\n', 'b')])
def test_classes_that_share_a_column_are_refused(classes):
    # prob_<class> in Parquet and CSV, measurements in GeoJSON, counts by class.
    with pytest.raises(ValueError, match='slide: class '):
        SlideInfo('slide', (8, 8), 0.25, classes, ((0, 0, 0), ) * 3)


def test_columns_of_different_length_are_our_mistake():
    with pytest.raises(AssertionError):
        replace(make_table(3), centroids=np.zeros((2, 2)))


def outline(contour, **place):
    ring, = nucleus_outlines([np.array(contour)], **place)
    assert (ring[0] == ring[-1]).all()
    return shapely.Polygon(ring)


@pytest.mark.parametrize(('contour', 'bounds'), [
    (SQUARE, (2, 3, 7, 7)),
    ([[4, 9]], (4, 9, 5, 10)),  # one pixel
    ([[4, 9], [8, 9]], (4, 9, 9, 10)),  # a row, as OpenCV gives it
    ([[4, 9], [4, 12], [4, 14]], (4, 9, 5, 15))])  # a column
def test_rectangles_keep_the_area_of_their_pixels(contour, bounds):
    assert outline(contour).equals(shapely.box(*bounds))


@pytest.mark.parametrize('contour', [
    [[0, 0], [4, 4], [4, 0], [0, 4]],  # bow tie
    [[0, 0], [0, 4], [4, 4], [4, 0], [2, 0], [2, -5], [2, 0]],  # spike
    [[0, 0], [3, 0], [3, 3], [6, 3], [6, 6], [3, 6], [3, 3], [0, 3]],  # touches itself
    [[1, 1], [1, 1], [1, 1], [1, 1]],  # repeated point
    [[0, 0], [5, 5]],  # diagonal line
    [[0, 0], [5, 0], [2, 0]]])  # there and back
def test_nasty_contours_become_valid_polygons_around_all_points(contour):
    polygon = outline(contour)
    assert polygon.is_valid
    for x, y in contour:
        assert polygon.covers(shapely.Point(x + 0.5, y + 0.5))


def test_a_window_lies_where_it_was_cut_and_is_scaled_from_the_corner_of_the_map():
    polygon = outline(SQUARE, offset=(100, 200), scale=(2, 0.5))
    assert polygon.equals(shapely.box(204, 101.5, 214, 103.5))


def test_of_a_nucleus_whose_neck_is_lost_when_it_shrinks_a_part_stays():
    polygon = outline(
        [[0, 0], [0, 19], [19, 19], [19, 10], [40, 10], [40, 29], [59, 29], [59, 0],
         [40, 0], [40, 10], [19, 10], [19, 0]], scale=(0.05, 0.05))
    assert polygon.equals(shapely.box(2, 0, 3, 1.5))  # the larger one


@pytest.mark.parametrize('scale', [0.5, 0.73, 1, 1.78])
def test_random_blobs_stay_valid_and_in_order_at_any_scale(scale):
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.normal(size=(256, 256)), (0, 0), 1.5)
    contours, _ = cv2.findContours(
        (noise > 0.25).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    contours = [contour.reshape(-1, 2) for contour in contours]
    rings = nucleus_outlines(contours, scale=(scale, scale))
    assert len(rings) == len(contours) > 100
    for ring, contour in zip(rings, contours, strict=True):
        polygon = shapely.Polygon(ring)
        assert polygon.is_valid and (ring * 8 == np.round(ring * 8)).all()
        low, high = contour.min(axis=0), contour.max(axis=0) + 1
        bounds = scale * np.concatenate([low, high])
        # Sharp corners are cut by up to half a pixel.
        assert np.abs(np.array(polygon.bounds) - bounds).max() <= 0.5 * scale + 0.0625
        inside = (contour + 0.5) * scale
        assert shapely.dwithin(polygon, shapely.points(inside), 0.125).all()


def test_rings_become_polygons_in_order():
    rings = nucleus_outlines([SQUARE, SQUARE[:3]], scale=(2, 2))
    polygons = ring_polygons(rings)
    assert [polygon.area for polygon in polygons] == [
        shapely.Polygon(ring).area for ring in rings]
    assert nucleus_outlines([]) == [] and len(ring_polygons([])) == 0
