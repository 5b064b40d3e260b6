# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np

from mmseg_cellvta.inference.seam_filter import SeamFilter
from mmseg_cellvta.structures import CellTable


def squares(*corners, side=20.0, mark=0):
    """A table of squares of `side` px with their top left corners there."""
    corners = np.array(corners, float).reshape(-1, 2)
    ring = np.array([(0, 0), (side, 0), (side, side), (0, side), (0, 0)])
    return CellTable(
        centroids=corners + side / 2,
        labels=np.full(len(corners), 1),
        scores=np.full(len(corners), mark, np.float32),
        class_probs=np.zeros((len(corners), 2), np.float32),
        outlines=[corner + ring for corner in corners])


def test_a_nucleus_of_two_windows_is_kept_once_as_the_first_saw_it():
    band = CellTable.concatenate([
        squares((0, 0), (100, 0), mark=1), squares((102, 1), (200, 0), mark=2)])
    kept = SeamFilter(mpp=0.25)(band)
    assert kept.centroids[:, 0].tolist() == [10, 110, 210]
    assert kept.scores.tolist() == [1, 1, 2]


def test_a_nucleus_of_two_bands_is_kept_once():
    seams = SeamFilter(mpp=0.25)
    assert len(seams(squares((0, 0), (0, 90)))) == 2
    assert seams(squares((1, 91), (0, 200))).centroids[:, 1].tolist() == [210]
    assert len(seams(squares((0, 0)))) == 1  # two bands later it is another one


def test_touching_and_slightly_overlapping_nuclei_stay():
    # Of 20 px: side by side, and sharing 9 px of 20.
    assert len(SeamFilter(0.25)(squares((0, 0), (20, 0), (40, 0), (51, 0)))) == 4


def test_a_nucleus_inside_a_larger_one_is_the_same():
    band = CellTable.concatenate([squares((0, 0)), squares((5, 5), side=8.0)])
    assert len(SeamFilter(0.25)(band)) == 1


def test_what_a_dropped_nucleus_would_have_dropped_stays():
    # The second is the same as the first, the third as the second only.
    assert SeamFilter(0.25)(squares((0, 0), (9, 0), (18, 0))).centroids[
        :, 0].tolist() == [10, 28]


def test_bands_without_nuclei_pass():
    seams = SeamFilter(0.25)
    assert [len(seams(squares())), len(seams(squares((0, 0)))), len(seams(squares()))
            ] == [0, 1, 0]
