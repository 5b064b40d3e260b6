# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from grown_cells import described, grow
from scipy import ndimage
from scipy.spatial import cKDTree

from mmseg_cellvta.post_processing.expansion import (
    MAX_REACH,
    expand_nuclei,
    trace_nuclei,
)


def draw(*rows):
    """A map from lines of digits; dots are background."""
    return np.array([[int(char) if char.isdigit() else 0 for char in row]
                     for row in rows], np.int32)


def random_nuclei(seed=0, shape=(90, 120), num=60, size=4):
    """Some touch each other, some have parts or holes."""
    rng = np.random.default_rng(seed)
    nuclei = np.zeros(shape, np.int32)
    for inst_id in range(1, num + 1):
        y, x = rng.integers(0, shape)
        blob = rng.random((size, size)) < 0.8
        part = nuclei[y:y + size, x:x + size]
        part[blob[:part.shape[0], :part.shape[1]]] = inst_id
    ids, nuclei = np.unique(nuclei, return_inverse=True)
    return nuclei.reshape(shape).astype(np.int32)


def by_search(seeds, distance):
    """The rule, pixel by pixel: the nearest, leftmost, uppermost pixel of a nucleus."""
    rows, cols = np.nonzero(seeds)
    cells = np.zeros_like(seeds)
    for row, col in np.ndindex(seeds.shape):
        squares = (rows - row)**2 + (cols - col)**2
        best = np.lexsort((rows, cols, squares))[0]
        if squares[best] <= distance**2:
            cells[row, col] = seeds[rows[best], cols[best]]
    return cells


def assert_nearest(seeds, distance):
    expected, cells = by_search(seeds, distance), expand_nuclei(seeds, distance)
    # One pixel is taken away where two cells would cross.
    assert (cells != expected).sum() <= 2
    np.testing.assert_array_equal(cells[cells != 0], expected[cells != 0])


@pytest.mark.parametrize('distance', [0.5, 1, 3, 4.5, 20.9, 22, 30])
def test_pixels_go_to_the_nearest_nucleus(distance):
    assert_nearest(random_nuclei(shape=(40, 60), num=12), distance)


@pytest.mark.parametrize('distance', [2, 22.99, 23, 70, MAX_REACH])
def test_nuclei_far_apart_at_the_rim_and_where_rows_are_parted(distance):
    """Rows are worked on 64 at once, or as many as cells reach."""
    seeds = np.zeros((200, 30), np.int32)
    seeds[0, 0], seeds[62:66, 29], seeds[197:, 5:8] = 1, 2, 3
    seeds[127, 10], seeds[130, 12] = -4, 5
    assert_nearest(seeds, distance)
    assert_nearest(np.rot90(seeds), distance)
    assert_nearest(random_nuclei(2, (140, 12), num=20), distance)


def test_the_first_of_two_equally_near_columns_counts_over_the_part_of_rows():
    seeds = draw('.1.', '...', '2.3')
    for above in range(60, 66):
        cells = expand_nuclei(np.pad(seeds, ((above, 70 - above), (0, 0))), 1.5)
        assert cells[above:above + 3].tolist() == draw('111', '213', '223').tolist()


def test_every_nucleus_is_in_its_cell_which_reaches_to_the_distance():
    seeds = draw('.........', '....1....', '.........')
    assert expand_nuclei(seeds, 2).tolist() == draw(
        '...111...', '..11111..', '...111...').tolist()
    assert expand_nuclei(seeds, 1.9).tolist() == draw(
        '...111...', '...111...', '...111...').tolist()


@pytest.mark.parametrize('seeds, cells', [
    (['1.2', '...'], ['112', '112']),  # the left one
    (['2.1', '...'], ['221', '221']),  # whatever its id
    (['1.', '..', '2.'], ['11', '11', '22'])])  # the upper one
def test_equally_near_nuclei_take_turns_by_their_place(seeds, cells):
    assert expand_nuclei(draw(*seeds), 5).tolist() == draw(*cells).tolist()


def test_a_part_of_a_map_is_expanded_as_the_whole():
    seeds, distance = random_nuclei(seed=1), 7.0
    whole = expand_nuclei(seeds, distance)
    for top, left in ((0, 0), (13, 21), (40, 55)):
        part = expand_nuclei(seeds[top:top + 50, left:left + 60], distance)
        inner = np.s_[8:42, 8:52]  # what is near the cut may belong to others
        np.testing.assert_array_equal(
            part[inner], whole[top:top + 50, left:left + 60][inner])


def test_cells_do_not_cross_at_a_corner():
    cells = expand_nuclei(draw('12', '21'), 1)
    assert cells.tolist() == draw('1.', '21').tolist()


def test_a_map_without_nuclei_has_no_cells():
    assert not expand_nuclei(np.zeros((5, 6), np.int32), 3).any()


def test_what_is_too_far_for_the_keys_is_refused():
    seeds = draw('1')
    assert expand_nuclei(seeds, MAX_REACH).tolist() == [[1]]
    with pytest.raises(ValueError, match='255 px around nuclei: expected at most 254'):
        expand_nuclei(seeds, MAX_REACH + 1)


def test_a_cell_at_the_longest_distance_is_the_nearest():
    seeds = np.zeros((40, 600), np.int32)
    seeds[20, 10], seeds[0, 580] = 1, 2
    cells = expand_nuclei(seeds, MAX_REACH)
    rows, cols = np.nonzero(seeds)
    distance, nearest = cKDTree(np.stack([rows, cols], 1)).query(
        np.argwhere(seeds == seeds))
    expected = np.where(distance <= MAX_REACH, seeds[rows, cols][nearest], 0)
    np.testing.assert_array_equal(cells.ravel(), expected)


def trace(seeds, distance):
    """Filled borders of nuclei and cells, by id, and the map of the cells."""
    nuclei, cells, cell_map = grow(seeds, distance)
    assert len(cells) == len(nuclei) == seeds.max()
    return nuclei, cells, cell_map


def test_a_cell_of_others_is_not_followed_but_keeps_its_place():
    nuclei, cells, cell_map = trace(np.array([[1, 0, -2]], np.int32), 5)
    assert cell_map.tolist() == [[1, 1, -2]]
    assert cells[0].max(axis=0).tolist() == [1, 0] and len(nuclei) == 1


def test_of_nuclei_in_parts_the_largest_is_kept():
    seeds = draw('11..2..1', '11..22..', '......2.', '33......', '333....3')
    expected = draw('11..2...', '11..22..', '......2.', '33......', '333.....')
    seeds[seeds == 3] = -3  # of others too
    nuclei = trace_nuclei(seeds, *described(seeds))
    np.testing.assert_array_equal(np.abs(seeds), expected)
    assert [border.max(axis=0).tolist() for border in nuclei] == [[1, 1], [6, 2]]


def test_borders_have_every_pixel():
    seeds = draw('1111..', '1111..', '1111..', '......', '.2....', '..2...', '...2..')
    square, line = trace_nuclei(seeds, *described(seeds))
    assert len(square) == 10 and len(line) == 4
    for border in (square, line):
        assert np.abs(np.diff(border, axis=0)).max() == 1


def test_of_a_nucleus_in_parts_the_largest_has_a_cell():
    nuclei, cells, cell_map = trace(draw('11......1', '11.......'), 1)
    assert cell_map.tolist() == draw('111......', '111......').tolist()
    assert nuclei[0].max(axis=0).tolist() == [1, 1]


RING = draw('11111111', '1......1', '1..22..1', '1......1', '11111111')


@pytest.mark.parametrize('seeds, cut', [
    (RING, 1),
    (draw('11111111', '1......1', '1..22..1', '1......1', '111..111'), 0),  # its cell
    (np.where(RING == 2, -1, RING), 1)])
def test_a_cell_around_another_is_slit_open(seeds, cut):
    seeds = np.pad(seeds, 4)
    *_, cell_map = trace(seeds, 3)
    filled = ndimage.binary_fill_holes(cell_map == 1, np.ones((3, 3)))
    assert not (filled & (cell_map != 1) & (cell_map != 0)).any()
    lost = (cell_map == 0) & (expand_nuclei(seeds, 3) != 0)
    # A line through the cell, and through its nucleus where that is closed.
    assert 1 in np.ptp(np.argwhere(lost), axis=0) + 1
    assert (lost & (seeds > 0)).sum() == cut and 3 <= lost.sum() <= 5


def test_cells_are_one_part_around_their_nucleus():
    for seed in range(5):
        seeds = random_nuclei(seed)
        nuclei, cells, cell_map = trace(seeds, 4)
        for cell_id, (nucleus, cell) in enumerate(zip(nuclei, cells, strict=True), 1):
            mask = cell_map == cell_id
            assert ndimage.label(mask, np.ones((3, 3)))[1] == 1
            for border in (nucleus, cell):
                assert mask[border[:, 1], border[:, 0]].all()
            assert (seeds[nucleus[:, 1], nucleus[:, 0]] == cell_id).all()
