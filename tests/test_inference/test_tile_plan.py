# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.inference.tile_plan import plan_tiles

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
        for left, right in plan.own_columns():
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
    assert empty.columns == (0, 0) and list(empty.own_columns()) == []


def test_a_shrunken_plan_has_the_same_bands():
    plan = plan_tiles((1303, 905), **LARGE)
    small = plan.shrink(16)
    assert small.shape == (82, 57) and small.num_bands == plan.num_bands
    for band in range(plan.num_bands):
        top, bottom = plan.seen_rows(band)
        assert small.seen_rows(band) == (top // 16, -(-bottom // 16))
    assert [16 * top for top in small.tops] == list(plan.tops)
    assert [16 * small.next_top(row) for row in range(len(small.tops))] == [
        plan.next_top(row) for row in range(len(plan.tops))]


@pytest.mark.parametrize(('tile', 'overlap'), [(250, 32), (256, 20), (256, 256)])
def test_tiles_off_the_grid_are_refused(tile, overlap):
    with pytest.raises(ValueError, match=f'tiles of {tile} px.*{overlap} px.*16 px'):
        plan_tiles((1000, 1000), (tile, 256), (overlap, 32), 512, 96)
