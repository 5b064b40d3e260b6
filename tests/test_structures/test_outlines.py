# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
import shapely

from mmseg_cellvta.structures.cell_table import nucleus_outlines, ring_polygons

SQUARE = np.array([[2, 3], [2, 6], [6, 6], [6, 3]])  # 5 x 4 px


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
    assert len(ring_polygons([])) == 0


def test_no_contours_have_no_outlines():
    assert nucleus_outlines([]) == []
