# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest
import torch

from mmseg_cellvta.utils.tile_blend import TileBlend
from mmseg_cellvta.utils.tiling import blend_weight, tile_starts

SIZE, STRIDE, SHAPE = (64, 48), (48, 32), (304, 176)
TOPS, LEFTS = (tile_starts(*axis) for axis in zip(SHAPE, SIZE, STRIDE, strict=True))
RNG = np.random.default_rng(0)
# What a network gives for each tile: other values in each, so that blending shows.
TILES = {(top, left): RNG.random((2, 5, *SIZE)).astype(np.float32)
         for top in TOPS for left in LEFTS}
BACKGROUND = [1, 0, 0, 0, 0]


def blend_whole(tops, lefts):
    """The same maps with the whole in memory, in float64."""
    total, weights = np.zeros((2, 5, *SHAPE)), np.zeros(SHAPE)
    weight = blend_weight(SIZE, STRIDE)
    for top in tops:
        for left in lefts:
            window = slice(top, top + SIZE[0]), slice(left, left + SIZE[1])
            total[(..., *window)] += weight * TILES[top, left]
            weights[window] += weight
    background = np.reshape(BACKGROUND, (-1, 1, 1))
    return np.where(weights > 0, total / np.maximum(weights, 1e-30), background)


def blend_rows(tops, lefts):
    """Rows of pixels as the rows of tiles finish them."""
    blend = TileBlend(SIZE, STRIDE, SHAPE[1], BACKGROUND)
    blend.begin((2, 5), torch.device('cpu'))
    for top, below in zip(tops, [*tops[1:], tops[-1] + SIZE[0]], strict=True):
        for left in lefts:
            blend.add(torch.from_numpy(TILES[top, left]), left)
        yield blend.finish(below - top).numpy()


def test_rows_are_those_of_maps_blended_whole():
    whole = np.concatenate(list(blend_rows(TOPS, LEFTS)), axis=-2)
    assert whole.dtype == np.float32 and whole.shape == (2, 5, *SHAPE)
    np.testing.assert_allclose(whole, blend_whole(TOPS, LEFTS), rtol=1e-6)


def test_where_no_tile_was_is_background():
    whole = np.concatenate(list(blend_rows(TOPS, LEFTS[2:3])), axis=-2)
    np.testing.assert_allclose(whole, blend_whole(TOPS, LEFTS[2:3]), rtol=1e-6)
    assert (whole[:, 0, :, :LEFTS[2]] == 1).all()
    assert not whole[:, 1:, :, :LEFTS[2]].any()


@pytest.mark.parametrize('first', [1, 2, 3])
def test_rows_are_the_same_bit_for_bit_wherever_the_work_begins(first):
    """From the row on that only tiles of the later rows reach."""
    whole, later = (np.concatenate(list(blend_rows(tops, LEFTS)), axis=-2)
                    for tops in (TOPS, TOPS[first:]))
    reached = TOPS[first - 1] + SIZE[0]
    np.testing.assert_array_equal(
        later[..., reached - TOPS[first]:, :], whole[..., reached:, :])


def test_without_a_tile_everything_is_background():
    rows = list(blend_rows(TOPS, []))
    assert all((part[:, 0] == 1).all() and not part[:, 1:].any() for part in rows)
