# Copyright (c) CellVTA-MMSeg contributors.
from dataclasses import replace

import numpy as np
import pytest
import shapely

from mmseg_cellvta.datasets.transforms import hv_target
from mmseg_cellvta.inference.cells import (
    SLACK_UM,
    NucleusSettings,
    SeamFilter,
    Window,
    find_window_cells,
    without_overlap,
)
from mmseg_cellvta.post_processing.instance_map import hover_constants
from mmseg_cellvta.structures import CellTable

MPP = 0.5
# 8 px squares at columns 20, 60 and 100 of a window of 64 x 128 px.
INST_MAP = np.zeros((64, 128), np.int32)
for inst_id, col in enumerate((20, 60, 100), start=1):
    INST_MAP[20:28, col:col + 8] = inst_id


def find(own, enlarge=1, scale=(1.0, 1.0), corner=(1000, 2000), tokens=None):
    nuclei = INST_MAP > 0
    maps = np.concatenate([
        [~nuclei, nuclei], hv_target(INST_MAP), [~nuclei, nuclei, 0 * nuclei]])
    x, y = corner
    own = tuple(np.array(own) + (x, y, x, y))
    if tokens is None:
        tokens = np.zeros((0, 4, 8))
    constants = hover_constants(MPP / enlarge, 'rising')
    return find_window_cells(
        maps.astype(np.float16), np.zeros((64, 128, 3), np.uint8), tokens,
        Window((x, y, x + 128, y + 64), own, 7, len(tokens)),
        NucleusSettings(constants, enlarge, MPP, scale))


def test_only_nuclei_with_their_centre_in_the_own_part_or_close_to_it():
    slack = SLACK_UM / MPP
    assert len(find((0, 0, 128, 64))) == 3
    assert len(find((40, 0, 90, 64))) == 1
    # The centres lie at x = 24, 64 and 104.
    assert len(find((24 + slack + 0.1, 0, 90, 64))) == 1
    assert len(find((24 + slack - 0.1, 0, 90, 64))) == 2


@pytest.mark.parametrize('scale', [(1.0, 1.0), (2.0, 2.0), (0.5, 0.25)])
def test_places_are_px_of_level_0(scale):
    cells = find((0, 0, 128, 64), scale=scale)
    np.testing.assert_allclose(
        cells.centroids, np.array([(1024, 2024), (1064, 2024), (1104, 2024)]) * scale)
    x, y = scale
    expected = shapely.box(1020 * x, 2020 * y, 1028 * x, 2028 * y)
    assert shapely.Polygon(cells.outlines[0]).equals(expected)


def test_enlarged_maps_give_the_same_places_and_sizes():
    plain, enlarged = (find((0, 0, 128, 64), enlarge=factor) for factor in (1, 2))
    np.testing.assert_allclose(enlarged.centroids, plain.centroids, atol=0.5)
    np.testing.assert_allclose(
        enlarged.features['area_um2'], plain.features['area_um2'], rtol=0.2)
    assert plain.features['area_um2'].tolist() == [16, 16, 16]


def test_a_nucleus_has_the_mean_of_the_tokens_under_its_box():
    tokens = np.arange(4 * 8).reshape(1, 4, 8)
    cells = find((0, 0, 128, 64), tokens=tokens)
    # Rows 20-28 lie in token row 1, columns 60-68 in token columns 3 and 4.
    assert cells.embeddings[:, 0].tolist() == [9, 11.5, 14]


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


def test_of_large_cells_that_overlap_the_first_stays():
    """Of nuclei that no window sees as a whole; others are right by themselves."""
    corners = (150, 0), (160, 0), (300, 0)
    nucleus, cell = (squares((-grow, -grow), side=140.0 + 3 * grow) for grow in (0, 10))
    large = replace(nucleus, cell_outlines=cell.outlines)  # to 160 px
    small = squares(*corners, side=4.0)
    small = replace(small, cell_outlines=small.outlines)
    left, right = (without_overlap(*tables, mpp=0.25)
                   for tables in ((small, large), (large, small)))
    assert len(left) == 0 and right.centroids[:, 0].tolist() == [162, 302]
    assert len(without_overlap(large, small, mpp=0.2)) == 3  # 28 µm
    nuclei = [replace(table, cell_outlines=None) for table in (large, small)]
    assert len(without_overlap(*nuclei, mpp=0.25)) == 3
    seams = SeamFilter(mpp=0.25)
    assert [len(seams(large)), len(seams(small))] == [1, 2]
