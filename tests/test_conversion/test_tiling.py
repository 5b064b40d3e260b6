# Copyright (c) CellVTA-MMSeg contributors.
from argparse import ArgumentParser

import numpy as np
import pytest

from mmseg_cellvta.conversion.writers import Tiling, add_tile_options, read_tile_options


def test_tiles_are_named_by_their_place_and_cover_everything():
    windows = Tiling(20, 5).windows('a', (40, 47))
    assert list(windows) == ['a_r0000_c0000', 'a_r0000_c0015', 'a_r0000_c0027',
                             'a_r0015_c0000', 'a_r0015_c0015', 'a_r0015_c0027',
                             'a_r0020_c0000', 'a_r0020_c0015', 'a_r0020_c0027']
    covered = np.zeros((40, 47), bool)
    for window in windows.values():
        assert covered[window].shape == (20, 20)
        covered[window] = True
    assert covered.all()


def test_without_tiles_the_picture_stays_whole():
    windows = Tiling().windows('a', (4, 5))
    assert np.zeros((4, 5))[windows['a']].shape == (4, 5) and len(windows) == 1


def test_picture_smaller_than_a_tile_is_named():
    with pytest.raises(ValueError, match='a: 50 x 19 px, smaller than a tile of 20'):
        Tiling(20).windows('a', (19, 50))


@pytest.mark.parametrize(('size', 'overlap'), [(-1, 0), (20, 20), (20, -1), (0, 5)])
def test_tiles_that_do_not_advance_are_refused(size, overlap):
    with pytest.raises(ValueError, match=f'tiles of {size} px'):
        Tiling(size, overlap)


def test_options_of_the_command_line():
    parser = ArgumentParser()
    add_tile_options(parser)
    assert read_tile_options(parser.parse_args([])) == Tiling()
    args = parser.parse_args(['--tile', '256', '--overlap', '8'])
    assert read_tile_options(args) == Tiling(256, 8)
