# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.evaluation.functional import (
    Overlaps,
    contingency,
    instance_centroids,
    instance_classes,
)

TRUE = np.array([[0, 5, 5, 5],
                 [0, 5, 9, 9],
                 [0, 0, 9, 9]])
PRED = np.array([[0, 2, 2, 0],
                 [7, 2, 2, 3],
                 [7, 0, 3, 3]])
INST = np.array([[4, 4, 4, 0],
                 [9, 9, 0, 2],
                 [9, 9, 0, 2]])


def test_contingency_counts_every_pair_of_ids_with_background():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, (2, 40, 30))
    counted = zip(*contingency(first, second), strict=True)
    naive = [(a, b, int(((first == a) & (second == b)).sum()))
             for a in range(6) for b in range(6)]
    assert [tuple(map(int, pair)) for pair in counted] == naive


def test_overlaps_hold_areas_intersections_and_iou():
    overlaps = Overlaps.from_maps(TRUE, PRED)
    assert overlaps.true_ids.tolist() == [5, 9]
    assert overlaps.pred_ids.tolist() == [2, 3, 7]
    assert overlaps.true_areas.tolist() == [4, 4]
    assert overlaps.pred_areas.tolist() == [4, 3, 2]
    assert overlaps.true_index.tolist() == [0, 1, 1]
    assert overlaps.pred_index.tolist() == [0, 0, 1]
    assert overlaps.intersection.tolist() == [3, 1, 3]
    assert overlaps.iou.tolist() == pytest.approx([3 / 5, 1 / 7, 3 / 4])


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int32, np.int64, np.uint64])
def test_overlaps_do_not_depend_on_the_integer_type(dtype):
    overlaps = Overlaps.from_maps(TRUE.astype(dtype), PRED.astype(np.uint64))
    assert overlaps.intersection.tolist() == [3, 1, 3]


def test_huge_ids_do_not_overflow():
    top = 2**31 - 1
    overlaps = Overlaps.from_maps(np.array([[0, top, top]]), np.array([[top, top, 1]]))
    assert overlaps.true_ids.tolist() == [top]
    assert overlaps.pred_ids.tolist() == [1, top]
    assert overlaps.intersection.tolist() == [1, 1]


@pytest.mark.parametrize('shape', [(0, 0), (3, 0), (3, 4)])
def test_maps_without_instances_have_no_overlaps_classes_or_centroids(shape):
    empty = np.zeros(shape, np.uint16)
    overlaps = Overlaps.from_maps(empty, empty)
    assert len(overlaps.true_ids) == len(overlaps.pred_ids) == len(overlaps.iou) == 0
    assert [len(part) for part in instance_classes(empty, empty)] == [0, 0]
    assert instance_centroids(empty, overlaps.true_ids).shape == (0, 2)


@pytest.mark.parametrize('first, message', [
    (np.zeros((2, 3), int), r'shape \(2, 3\) and \(2, 2\)'),
    (np.zeros((2, 2)), 'dtype float64: ids must be integers'),
    (np.full((2, 2), -1), r'ids -1\.\.-1'),
    (np.full((2, 2), 2**31), 'expected 0 .background. to 2147483647'),
])
def test_what_is_no_label_map_is_refused(first, message):
    with pytest.raises(ValueError, match=message):
        contingency(first, np.zeros((2, 2), int))


@pytest.mark.parametrize('class_map, expected, expected_mixed', [
    ([[3, 3, 1, 5], [2, 2, 0, 6], [2, 2, 0, 6]], [6, 3, 2], [4]),
    ([[0, 0, 1, 0], [5, 5, 0, 2], [3, 3, 0, 1]], [1, 0, 3], [2, 4, 9]),  # ties
])
def test_an_instance_has_the_class_of_most_pixels_or_the_smallest(
        class_map, expected, expected_mixed):
    classes, mixed = instance_classes(INST, np.array(class_map))
    assert classes.tolist() == expected  # ids 2, 4, 9
    assert mixed.tolist() == expected_mixed


def test_centroids_are_mean_pixel_positions_as_x_y():
    centroids = instance_centroids(INST, np.array([2, 4, 9]))
    assert centroids.tolist() == [[3, 1.5], [1, 0], [0.5, 1.5]]
