# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import pytest

from mmseg_cellvta.utils.tiling import blend_weight, tile_starts


@pytest.mark.parametrize(('length', 'size', 'stride', 'starts'), [
    (480, 256, 224, [0, 224]),  # an enlarged CoNIC patch
    (500, 256, 224, [0, 224, 244]),
    (256, 256, 192, [0]),
    (100, 256, 192, [0]),
    (512, 256, 256, [0, 256]),
])
def test_tiles_cover_the_length_and_end_at_the_border(length, size, stride, starts):
    assert tile_starts(length, size, stride) == starts
    covered = set().union(*(range(start, start + size) for start in starts))
    assert covered >= set(range(length))


@pytest.mark.parametrize('stride', [0, 257])
def test_a_stride_that_leaves_pixels_out_is_an_error(stride):
    with pytest.raises(ValueError, match=f'stride={stride} px for tiles of 256 px'):
        tile_starts(480, 256, stride)


def test_a_tile_counts_less_where_it_overlaps_and_weights_add_up_to_one():
    weight = blend_weight((8, 64), (8, 48))
    assert weight.dtype == np.float32 and weight.shape == (8, 64)
    assert (weight[:, 16:48] == 1).all() and (weight > 0).all()
    np.testing.assert_allclose(weight[:, 48:] + weight[:, :16], 1)
