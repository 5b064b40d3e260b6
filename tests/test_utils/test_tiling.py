# Copyright (c) CellVTA-MMSeg contributors.
import pytest

from mmseg_cellvta.utils.tiling import tile_starts


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
