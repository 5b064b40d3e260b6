# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.inference.rolling_rows import RollingRows, scroll
from mmseg_cellvta.inference.tile_plan import plan_tiles

PLAN = plan_tiles((300, 170), (64, 64), (16, 16), band_height=96, margin=20)


@pytest.mark.parametrize('first', [0, 1, 2])
def test_bands_are_the_rows_that_were_written(first):
    whole = np.random.default_rng(0).integers(0, 255, (304, 5, 3)).astype(np.uint8)
    tiles = PLAN.tile_rows(range(first, PLAN.num_bands))
    rolling, band = RollingRows(PLAN, (5, 3), np.uint8, first_row=tiles[0]), first
    for row in tiles:
        top = PLAN.tops[row]
        rolling.view(top, top + 64)[:] = whole[top:top + 64]
        while band < PLAN.num_bands and PLAN.next_top(row) >= PLAN.seen_rows(band)[1]:
            np.testing.assert_array_equal(
                rolling.seen(band), whole[slice(*PLAN.seen_rows(band))])
            rolling.forget(band)
            band += 1
    assert band == PLAN.num_bands


def test_rows_that_were_forgotten_are_out_of_reach():
    rolling = RollingRows(PLAN, (5, ), np.float16)
    rolling.forget(0)
    assert PLAN.seen_rows(1)[0] == rolling.begin > 0
    with pytest.raises(AssertionError):
        rolling.view(0, 10)


def test_scrolled_rows_make_room():
    rows = np.arange(10).reshape(5, 2)
    scroll(rows, 3, fill=-1)
    assert rows.tolist() == [[6, 7], [8, 9], [-1, -1], [-1, -1], [-1, -1]]


def test_rows_are_filled_before_they_are_written():
    rolling = RollingRows(PLAN, (2, 3), np.uint8, fill=255)
    rolling.view(0, 64)[:] = 7
    rolling.forget(0)
    assert (rolling.view(rolling.begin + 64, rolling.begin + 96) == 255).all()
