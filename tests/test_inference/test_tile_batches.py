# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
from true_maps import CoordinateCanvas

from mmseg_cellvta.inference.tile_batches import TileBatches
from mmseg_cellvta.inference.tile_plan import plan_tiles

CANVAS = CoordinateCanvas((200, 300))
PLAN = plan_tiles((200, 300), (64, 64), (16, 16), 96, 16)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_batches_hold_the_tiles_of_one_row_in_order(num_workers):
    batches = TileBatches(CANVAS, PLAN, range(1, 4), batch_size=4)
    seen = []
    for row, lefts, tiles in batches.read_ahead(num_workers):
        assert tiles.shape == (len(lefts), 64, 64, 3) and len(lefts) <= 4
        for left, tile in zip(lefts, tiles.numpy(), strict=True):
            np.testing.assert_array_equal(
                tile, CANVAS.read(left, PLAN.tops[row], 64, 64))
            seen.append((row, left))
    assert seen == [(row, left) for row in range(1, 4) for left in PLAN.lefts[row]]


def test_a_row_is_cut_the_same_wherever_the_work_begins():
    whole = TileBatches(CANVAS, PLAN, range(0, 4), 4).jobs
    assert TileBatches(CANVAS, PLAN, range(2, 4), 4).jobs == [
        job for job in whole if job[0] >= 2]
