# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
import pytest
import shapely

from mmseg_cellvta.conversion.drawn_conic import draw_numbered_patch
from mmseg_cellvta.conversion.polygons import Outline, make_area, rasterize
from mmseg_cellvta.structures.cell_table import nucleus_outlines


def outline(*rings, class_id=1):
    return Outline(make_area([np.array(ring, float) for ring in rings], 'ring'),
                   class_id, 'ring')


def box(x1, y1, x2, y2):
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def draw(*outlines, shape=(12, 14)):
    return rasterize(outlines, shape, 'a.xml')


def test_pixels_are_those_whose_centre_is_inside():
    inst_map, class_map = draw(outline(box(1.5, 2.5, 4.5, 8.5), class_id=3))
    expected = np.zeros((12, 14), int)
    expected[3:9, 2:5] = 1
    assert (inst_map == expected).all() and (class_map == 3 * expected).all()
    assert inst_map.dtype == np.int32 and class_map.dtype == np.uint8


def test_holes_stay_empty():
    inst_map, _ = draw(outline(box(0.5, 0.5, 9.5, 9.5), box(3.5, 3.5, 6.5, 6.5)))
    assert (inst_map[4:7, 4:7] == 0).all() and (inst_map > 0).sum() == 81 - 9


def test_nucleus_within_the_hole_of_a_multipolygon_is_drawn():
    ring = make_area([np.array(box(0.5, 0.5, 9.5, 9.5)),
                      np.array(box(2.5, 2.5, 7.5, 7.5))], 'ring')
    core = shapely.box(3.5, 3.5, 6.5, 6.5)
    inst_map, _ = draw(Outline(shapely.MultiPolygon([ring, core]), 1, 'both'))
    assert (inst_map > 0).sum() == 81 - 25 + 9


def test_later_outline_wins_and_a_covered_one_is_gone():
    inst_map, class_map = draw(
        outline(box(2.5, 2.5, 4.5, 4.5), class_id=1),
        outline(box(0.5, 0.5, 6.5, 6.5), class_id=2),
        outline(box(4.5, 0.5, 8.5, 6.5), class_id=1))
    assert np.unique(inst_map).tolist() == [0, 2, 3]
    assert class_map[3, 3] == 2 and class_map[3, 5] == 1


def test_class_0_erases():
    inst_map, class_map = draw(outline(box(0.5, 0.5, 6.5, 6.5)),
                               outline(box(2.5, 2.5, 4.5, 4.5), class_id=0))
    assert (inst_map > 0).sum() == 36 - 4 and ((class_map > 0) == (inst_map > 0)).all()


def test_outlines_are_cut_at_the_border():
    inst_map, _ = draw(outline(box(-5, -5, 2.5, 2.5)), outline(box(11.5, 9.5, 90, 90)))
    assert (inst_map == 1).sum() == 9 and (inst_map == 2).sum() == 4


@pytest.mark.parametrize('place', [
    box(14, 2, 20, 4), box(2, 12, 4, 20), box(-9, 2, -1, 4), box(2, -9, 4, -1)])
def test_outline_beside_the_picture_is_named(place):
    with pytest.raises(ValueError, match='a.xml: ring is outside the picture: x .*14 '
                       'x 12 px'):
        draw(outline(place))


def test_outline_that_crosses_itself_keeps_both_sides():
    area = outline([(0, 0), (8, 8), (8, 0), (0, 8)]).area
    assert area.is_valid and area.area == pytest.approx(32)


def test_overrun_end_of_an_outline_makes_no_hole():
    area = outline([(0, 0), (10, 0), (10, 10), (0, 10), (0, -2), (5, -2), (5, 3),
                    (3, 3), (3, -1)]).area
    assert area.is_valid and shapely.Point(4, 2).within(area)


@pytest.mark.parametrize('ring', [[], [(2, 2)], [(2, 2), (3, 3)],
                                  [(2, 2), (4, 4), (6, 6)]])
def test_outline_around_nothing_draws_nothing(ring):
    points = np.array(ring, float).reshape(-1, 2)
    inst_map, _ = draw(Outline(make_area([points], 'x'), 1, 'x'))
    assert not inst_map.any()


def test_coordinate_that_is_no_number_is_named():
    with pytest.raises(ValueError, match='ring: expected points of two numbers'):
        outline([(0, 0), (1, np.nan), (2, 2)])


def test_third_coordinate_does_not_count():
    assert outline([(0, 0, 9), (4, 0, 9), (4, 4, 9)]).area.area == 8


def test_what_the_package_writes_for_qupath_comes_back():
    labels = draw_numbered_patch(1, seed=0)[1][..., 0]
    for number in np.unique(labels)[1:]:
        mask = (labels == number).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if len(contours) > 1:
            continue
        filled = cv2.drawContours(mask, contours, 0, 1, cv2.FILLED)
        ring, = nucleus_outlines([contours[0][:, 0]])
        area = shapely.Polygon(ring)
        ring = np.array(area.exterior.coords) - 0.5  # pixel 0 reaches from 0 to 1
        drawn, _ = draw(outline(ring), shape=labels.shape)
        assert (drawn == filled).all()


def test_work_does_not_grow_with_the_picture():
    corner = outline(box(5000.5, 5000.5, 5003.5, 5003.5))
    inst_map, _ = draw(*[corner] * 500, shape=(6000, 6000))
    assert (inst_map == 500).sum() == 9
