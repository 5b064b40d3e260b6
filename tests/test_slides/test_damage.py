# Copyright (c) CellVTA-MMSeg contributors.
"""Damaged tiles: where they are, and what is read around them."""
import pickle

import numpy as np
import pytest
from slide_files import TILE, color_field, damage_tile, write_scn, write_slide

from mmseg_cellvta.slides import SlideCanvas, TissueMask, UnreadableError, open_slide

IMAGE = color_field(700, 900)


@pytest.fixture(params=['openslide', 'tiffslide'])
def write(request, tmp_path):
    """Writes a slide that one of the libraries takes."""
    pytest.importorskip(request.param)
    return lambda **options: write_slide(
        tmp_path / 'a.tif', IMAGE, ome=request.param == 'tiffslide', **options)


def test_place_of_a_damaged_tile_is_named(write):
    reader = open_slide(damage_tile(write(), 3 * TILE + 5, 2 * TILE + 9))
    reader.read(0, 0, 0, 900, 2 * TILE)
    for rectangle in ((0, 0, 900, 700), (3 * TILE + 50, 2 * TILE + 60, 10, 10)):
        with pytest.raises(UnreadableError, match=(
                f'a.tif: damaged at x={3 * TILE}, y={2 * TILE} px of level 0 .*copy or '
                'export the file again, or .* --skip-damaged')):
            reader.read(0, *rectangle)
    # The rest is still there.
    np.testing.assert_array_equal(reader.read(0, 0, 0, 99, 99), IMAGE[:99, :99])


@pytest.mark.parametrize(('level', 'factor'), [(1, 2), (2, 4)])
def test_place_on_a_coarser_level_is_told_in_px_of_level_0(write, level, factor):
    path = damage_tile(write(levels=3), 140, 10, level)
    with pytest.raises(UnreadableError, match=(
            f'damaged at x={TILE * factor}, y=0 px of level 0, found on level '
            f'{level}')):
        open_slide(path).read(level, 0, 0, 900 // factor, 700 // factor)


def test_place_is_right_where_openslide_interpolates(tmp_path):
    """Levels of odd sizes are read in blocks that are no tiles."""
    pytest.importorskip('openslide')
    path = write_slide(tmp_path / 'a.tif', color_field(603, 801), levels=2)
    damage_tile(path, 2 * TILE + 5, TILE + 5, level=1)
    reader = open_slide(path, skip_damaged=True)
    whole = open_slide(write_slide(tmp_path / 'b.tif', color_field(603, 801), levels=2))
    image, expected = (one.read(1, 0, 0, 400, 301) for one in (reader, whole))
    changed = (image != expected).any(axis=2)
    assert (image[TILE + 1:2 * TILE, 2 * TILE + 1:3 * TILE] == 255).all()
    assert not changed[:, :2 * TILE - 1].any()  # the next block
    with pytest.raises(UnreadableError, match=(
            f'x={4 * TILE}, y={2 * TILE} px of level 0, found on level 1')):
        open_slide(path).read(1, 0, 0, 400, 301)


@pytest.mark.parametrize('places', [
    [(400, 300)], [(0, 0)], [(0, 0), (130, 0), (890, 690)]])
def test_only_damaged_tiles_are_white(write, places):
    path = write()
    expected = IMAGE.copy()
    for x, y in places:
        damage_tile(path, x, y)
        left, top = x // TILE * TILE, y // TILE * TILE
        expected[top:top + TILE, left:left + TILE] = 255
    reader = open_slide(path, skip_damaged=True)
    np.testing.assert_array_equal(reader.read(0, 0, 0, 900, 700), expected)
    assert reader.damaged_places() == sorted(
        ((x // TILE * TILE, y // TILE * TILE) for x, y in places),
        key=lambda place: place[::-1])
    # Also for one that knows nothing of the damage, and in other rectangles.
    other = open_slide(path, skip_damaged=True)
    np.testing.assert_array_equal(
        other.read(0, 390, 250, 200, 100), expected[250:350, 390:590])
    again = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(again.read(0, 0, 0, 900, 700), expected)


def test_thumbnail_of_a_damaged_slide_shows_its_tissue(write):
    path = damage_tile(write(mpp=2.0), 400, 300)
    with pytest.raises(UnreadableError):
        TissueMask(open_slide(path))
    mask = TissueMask(open_slide(path, skip_damaged=True))
    assert 0.9 < mask.fraction < 1 and not mask.covers(440, 310, 10, 10)


def test_undamaged_slides_are_read_the_same(write):
    path = write(levels=3)
    plain, tolerant = (SlideCanvas(open_slide(path, skip_damaged=skip), 0.7)
                       for skip in (False, True))
    rectangle = 0, 0, *plain.shape[::-1]
    np.testing.assert_array_equal(tolerant.read(*rectangle), plain.read(*rectangle))
    assert tolerant.reader.damaged == set()


def test_a_slide_that_is_damaged_everywhere_is_refused(write):
    path = write()
    for x in range(0, 900, TILE):
        for y in range(0, 700, TILE):
            damage_tile(path, x, y)
    with pytest.raises(UnreadableError, match='damaged at all'):
        open_slide(path, skip_damaged=True)


def test_a_file_that_is_gone_is_no_damage(write):
    path = damage_tile(write(), 400, 300)
    reader = open_slide(path, skip_damaged=True)
    reader.close()
    path.unlink()
    with pytest.raises(UnreadableError, match='a.tif: cannot be opened any more'):
        reader.read(0, 300, 200, 200, 200)


@pytest.mark.parametrize('library', ['openslide', 'tiffslide'])
def test_bounds_are_what_was_scanned(tmp_path, library):
    module = pytest.importorskip(f'mmseg_cellvta.slides.{library}_reader')
    reader_class = dict(openslide='OpenSlideReader', tiffslide='TiffSlideReader')
    reader = getattr(module, reader_class[library])(
        write_scn(tmp_path / 'a.scn', IMAGE[:300, :400], (200, 160)))
    assert reader.bounds == (200, 160, 400, 300) and reader.mpp == 0.5
    np.testing.assert_array_equal(
        reader.read(0, 200, 160, 400, 300), IMAGE[:300, :400])
    assert (reader.read(0, 0, 0, 650, 160) == 255).all()  # around it is nothing
