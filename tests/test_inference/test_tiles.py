# Copyright (c) CellVTA-MMSeg contributors.
import itertools
from contextlib import closing

import numpy as np
import pytest
from true_maps import CoordinateCanvas

from mmseg_cellvta.inference.tiles import (
    TileReader,
    band_height,
    plan_tiles,
    window_margin,
)
from mmseg_cellvta.inference.workers import SharedPool
from mmseg_cellvta.utils.images import UnreadableError

LARGE = dict(tile=(256, 256), overlap=(32, 32), band_height=512, margin=96)


@pytest.mark.parametrize('shape', [(1000, 700), (256, 256), (1, 1), (2000, 50)])
def test_tiles_cover_the_slide_and_lie_on_the_grid_of_16_px(shape):
    plan = plan_tiles(shape, **LARGE)
    covered = np.zeros(shape, bool)
    for top, lefts in zip(plan.tops, plan.lefts, strict=True):
        for left in lefts:
            assert top % 16 == left % 16 == 0
            covered[top:top + plan.tile[0], left:left + plan.tile[1]] = True
    assert covered.all()
    assert plan.tops[-1] + plan.tile[0] - shape[0] < 16


def test_a_small_picture_is_one_small_tile():
    plan = plan_tiles((100, 70), **LARGE)
    assert (plan.tile, plan.tops, plan.lefts) == ((112, 80), (0,), ((0,),))


def test_every_pixel_belongs_to_one_band_and_one_window():
    plan = plan_tiles((1300, 900), **LARGE)
    owners = np.zeros((1300, 900), int)
    for band in range(plan.num_bands):
        top, bottom = plan.own_rows(band)
        for left, right in plan.windows():
            owners[top:bottom, left:right] += 1
    assert (owners == 1).all()


def test_a_band_sees_its_margin_but_not_beyond_the_slide():
    plan = plan_tiles((1300, 900), **LARGE)
    assert [plan.seen_rows(band) for band in range(plan.num_bands)] == [
        (0, 608), (416, 1120), (928, 1300)]


def test_rows_of_tiles_of_bands_are_those_that_touch_what_they_see():
    plan = plan_tiles((1300, 900), **LARGE)
    assert plan.tops == (0, 224, 448, 672, 896, 1056)
    assert plan.tile_rows(range(0, 1)) == range(0, 3)  # rows 0 to 608
    assert plan.tile_rows(range(1, 2)) == range(1, 6)  # rows 416 to 1120
    assert plan.tile_rows(range(0, 3)) == range(0, 6)
    assert [plan.next_top(row) for row in (0, 4, 5)] == [224, 1056, 1312]


def test_only_tiles_with_tissue_are_seen():
    plan = plan_tiles((1000, 1000), **LARGE,
                      covers=lambda x, y, width, height: 448 <= x < 672 and y == 0)
    assert plan.lefts[0] == (448,) and not any(plan.lefts[1:])
    assert plan.columns == (448, 704)
    empty = plan_tiles((1000, 1000), **LARGE, covers=lambda *_: False)
    assert empty.columns == (0, 0) and list(empty.windows()) == []


@pytest.mark.parametrize('covers', [None, lambda x, y, *_: x % 448 < 224 or y < 300])
@pytest.mark.parametrize('shape', [(1000, 700), (256, 256), (1, 1), (2000, 50)])
def test_the_area_counts_every_pixel_once(shape, covers):
    plan = plan_tiles(shape, **LARGE, covers=covers)
    covered = np.zeros(shape, bool)
    for top, lefts in zip(plan.tops, plan.lefts, strict=True):
        for left in lefts:
            covered[top:top + plan.tile[0], left:left + plan.tile[1]] = True
    assert plan.covered_px == covered.sum() > 0


@pytest.mark.parametrize('num_parts', [1, 2, 4, 7])
def test_processes_share_bands_by_their_tiles(num_parts):
    """Tissue in the upper third only, of a slide of 12 mm at 40x."""
    plan = plan_tiles((49152, 20000), (256, 256), (32, 32), 96,
                      lambda x, y, *_: y < 16384)
    parts = plan.share(num_parts)
    assert [band for part in parts for band in part] == list(range(plan.num_bands))
    tiles = [plan.num_tiles(part) for part in parts]
    if num_parts < 7:  # of 16 bands with tissue, 7 processes have 2 or 3
        assert max(tiles) <= 1.1 * min(tiles)
    assert min(tiles) > 0


@pytest.mark.parametrize('num_parts', [2, 3, 9])
def test_no_other_split_has_fewer_tiles_in_its_fullest_part(num_parts):
    plan = plan_tiles((3000, 900), **LARGE, covers=lambda x, y, *_: x < 300 or y > 2000)
    cuts = itertools.combinations_with_replacement(
        range(plan.num_bands + 1), num_parts - 1)
    best = min(
        max(plan.num_tiles(range(*pair)) for pair in itertools.pairwise(
            [0, *cut, plan.num_bands]))
        for cut in cuts)
    assert max(map(plan.num_tiles, plan.share(num_parts))) == best


@pytest.mark.parametrize(('tile', 'overlap'), [(250, 32), (256, 20), (256, 256)])
def test_tiles_off_the_grid_are_refused(tile, overlap):
    with pytest.raises(ValueError, match=f'tiles of {tile} px.*{overlap} px.*16 px'):
        plan_tiles((1000, 1000), (tile, 256), (overlap, 32), 96)


CANVAS = CoordinateCanvas((200, 300))
PLAN = plan_tiles((200, 300), (64, 64), (16, 16), 16, band_height=96)


class DamagedCanvas(CoordinateCanvas):
    """One that cannot be read from the third row of tiles on."""

    def read(self, x, y, width, height):
        if y >= PLAN.tops[2]:
            raise UnreadableError('damaged')
        return super().read(x, y, width, height)


def make_reader(num_workers, batch_size=4, canvas=CoordinateCanvas):
    pool = SharedPool(num_workers, batch_size * 64 * 64 * 3, 2)
    return TileReader(canvas((200, 300)), PLAN, batch_size, pool)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_batches_hold_the_tiles_of_one_row_in_order(num_workers):
    seen = []
    for batches in make_reader(num_workers).read(range(1, 4)):
        for batch in batches:
            assert batch.pixels.shape == (len(batch.lefts), 64, 64, 3)
            assert len(batch.lefts) <= 4
            for left, tile in zip(batch.lefts, batch.pixels, strict=True):
                np.testing.assert_array_equal(
                    tile, CANVAS.read(left, PLAN.tops[batch.row], 64, 64))
                seen.append((batch.row, left))
    assert seen == [(row, left) for row in range(1, 4) for left in PLAN.lefts[row]]


def test_a_row_is_cut_the_same_wherever_the_work_begins():
    def cut(rows):
        return [(batch.row, batch.lefts) for batches in make_reader(0).read(rows)
                for batch in batches]

    assert cut(range(2, 4)) == [job for job in cut(range(4)) if job[0] >= 2]


@pytest.mark.parametrize('num_workers', [0, 1])
def test_after_damage_all_places_are_free_again(num_workers):
    reader = make_reader(num_workers, canvas=DamagedCanvas)
    with pytest.raises(UnreadableError), closing(reader.read(range(4))) as rows:
        for batches in rows:
            list(batches)
    assert {reader.pool.borrow() for _ in range(2)} == {0, 1}


@pytest.mark.parametrize('mpp, expand_um, margin', [
    (0.5, None, 48), (0.25, None, 80), (0.5, 5.0, 96), (0.25, 5.0, 192),
    (0.25, 25.0, 352)])
def test_windows_see_the_nuclei_that_cells_meet(mpp, expand_um, margin):
    assert window_margin(mpp, expand_um) == margin
    assert band_height(expand_um) == (1024 if expand_um is None else 1536)
