# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.inference.band_maps import BandMaps
from mmseg_cellvta.inference.tile_plan import plan_tiles
from mmseg_cellvta.utils.tiling import blend_weight

PLAN = plan_tiles((300, 170), (64, 64), (16, 16), band_height=96, margin=20)
RNG = np.random.default_rng(0)
# What a network gives for each tile: other values in each, so that blending shows.
TILES = {(row, left): RNG.random((5, *PLAN.tile)).astype(np.float32)
         for row in range(len(PLAN.tops)) for left in PLAN.lefts[row]}
BACKGROUND = [1, 0, 0, 0, 0]


def blend_whole(plan):
    """The same maps with the whole slide in memory."""
    total, weights = np.zeros((5, 304, 176), np.float32), np.zeros((304, 176))
    weight = blend_weight(plan.tile, plan.stride)
    for row, top in enumerate(plan.tops):
        for left in plan.lefts[row]:
            window = slice(top, top + 64), slice(left, left + 64)
            total[(slice(None), *window)] += weight * TILES[row, left]
            weights[window] += weight
    with np.errstate(invalid='ignore'):
        return np.where(weights > 0, total / weights, [[[1]], *[[[0]]] * 4])


def bands(plan, first, last):
    """Bands `first` to `last - 1` as SlideScan makes them."""
    rows = plan.tile_rows(range(first, last))
    rolling, band = BandMaps(plan, BACKGROUND, rows[0]), first
    for row in rows:
        for left in plan.lefts[row]:
            rolling.add(left, TILES[row, left])
        rolling.finish_row(plan.next_top(row))
        while band < last and rolling.has(band):
            yield band, rolling.finished.seen(band).swapaxes(0, 1).copy()
            rolling.finished.forget(band)
            band += 1


def test_bands_are_the_rows_of_maps_blended_whole():
    whole, seen = blend_whole(PLAN), []
    for band, maps in bands(PLAN, 0, PLAN.num_bands):
        top, bottom = PLAN.seen_rows(band)
        assert maps.dtype == np.float16 and maps.shape[1] == bottom - top
        np.testing.assert_allclose(maps, whole[:, top:bottom], atol=5e-4)
        seen.append(band)
    assert seen == list(range(PLAN.num_bands))


@pytest.mark.parametrize('first', [1, 2, 3])
def test_a_band_is_the_same_bit_for_bit_wherever_the_work_begins(first):
    whole = dict(bands(PLAN, 0, PLAN.num_bands))
    for band, maps in bands(PLAN, first, PLAN.num_bands):
        np.testing.assert_array_equal(maps, whole[band])


def test_where_no_tile_was_is_background():
    plan = plan_tiles((300, 170), (64, 64), (16, 16), band_height=96, margin=20,
                      covers=lambda x, y, width, height: x == 48 and y == 0)
    assert plan.columns == (48, 112)
    (_, maps), (_, below), *_ = bands(plan, 0, plan.num_bands)
    whole = blend_whole(plan)[:, :, 48:112]
    np.testing.assert_allclose(maps, whole[:, :128], atol=5e-4)
    assert (below[0] == 1).all() and not below[1:].any()


def test_memory_does_not_follow_the_length_of_the_slide():
    sizes = []
    for height in (1000, 8000):
        plan = plan_tiles((height, 500), (64, 64), (16, 16), 96, 20)
        rolling = BandMaps(plan, BACKGROUND)
        sizes.append(sum(a.nbytes for part in (rolling, rolling.finished)
                         for a in vars(part).values() if isinstance(a, np.ndarray)))
    assert sizes[0] == sizes[1]
