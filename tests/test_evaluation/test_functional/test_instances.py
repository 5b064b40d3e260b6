# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np

from mmseg_cellvta.evaluation.functional import instance_centroids, instance_classes

INST = np.array([[4, 4, 4, 0],
                 [9, 9, 0, 2],
                 [9, 9, 0, 2]])


def test_an_instance_has_the_class_of_most_of_its_pixels():
    classes, mixed = instance_classes(INST, np.array([[3, 3, 1, 5],
                                                      [2, 2, 0, 6],
                                                      [2, 2, 0, 6]]))
    assert classes.tolist() == [6, 3, 2]  # ids 2, 4, 9
    assert mixed.tolist() == [4]


def test_a_tie_goes_to_the_smallest_class():
    classes, mixed = instance_classes(INST, np.array([[0, 0, 1, 0],
                                                      [5, 5, 0, 2],
                                                      [3, 3, 0, 1]]))
    assert classes.tolist() == [1, 0, 3]
    assert mixed.tolist() == [2, 4, 9]


def test_centroids_are_mean_pixel_positions_as_x_y():
    centroids = instance_centroids(INST, np.array([2, 4, 9]))
    assert centroids.tolist() == [[3, 1.5], [1, 0], [0.5, 1.5]]


def test_an_empty_map_has_no_classes_and_no_centroids():
    empty = np.zeros((3, 4), np.uint16)
    classes, mixed = instance_classes(empty, empty)
    assert classes.shape == mixed.shape == (0,)
    assert instance_centroids(empty, np.zeros(0, int)).shape == (0, 2)
