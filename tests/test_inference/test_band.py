# Copyright (c) CellVTA-MMSeg contributors.
from types import SimpleNamespace

import numpy as np
import torch

from mmseg_cellvta.inference.band import RollingBand
from mmseg_cellvta.inference.tiles import TileBatch, plan_tiles

SHAPE = (320, 272)
RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
MAPS = RNG.random((7, *SHAPE)).astype(np.float16)
TOKENS = RNG.random((4, SHAPE[0] // 16, SHAPE[1] // 16)).astype(np.float16)


NETWORK = SimpleNamespace(num_maps=7, token_dims=4, device=torch.device('cpu'))


def roll(covers=None, maps=MAPS):
    """The windows of all bands, from tiles that agree where they overlap."""
    plan = plan_tiles(SHAPE, (64, 64), (16, 16), 16, covers, 96)
    rolling, band, windows = RollingBand(plan, NETWORK, first_row=0), 0, []
    for row, top in enumerate(plan.tops):
        for left in plan.lefts[row]:
            rows, columns = slice(top, top + 64), slice(left, left + 64)
            tokens = TOKENS[None, :, top // 16:top // 16 + 4, left // 16:left // 16 + 4]
            rolling.add(TileBatch(row, (left,), PICTURE[None, rows, columns]),
                        torch.from_numpy(maps[None, :, rows, columns]).float(),
                        torch.from_numpy(tokens).float())
        rolling.finish_row(row)
        rolling.receive(num_left=row + 1 < len(plan.tops))
        while band < plan.num_bands and rolling.has(band):
            windows += [(*cut(rolling, window), window)
                        for window in rolling.windows(band)]
            rolling.forget(band)
            band += 1
    assert band == plan.num_bands
    return windows


def cut(rolling, window):
    """Maps, pixels and tokens of a window, in memory of its own."""
    memory = memoryview(bytearray(window.num_bytes))
    rolling.fill(window, memory)
    return window.arrays(memory)


def test_windows_hold_maps_picture_and_tokens_of_their_place():
    windows = roll()
    assert len(windows) == 4 * 3
    for maps, picture, tokens, window in windows:
        left, top, right, bottom = window.seen
        np.testing.assert_allclose(maps, MAPS[:, top:bottom, left:right], atol=2e-3)
        np.testing.assert_array_equal(picture, PICTURE[top:bottom, left:right])
        np.testing.assert_allclose(
            tokens, TOKENS[:, top // 16:bottom // 16, left // 16:right // 16],
            atol=2e-3)


def test_the_own_parts_of_the_windows_cover_the_slide_once():
    covered = np.zeros(SHAPE, int)
    for *_, window in roll():
        left, top, right, bottom = window.own
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all()


def test_windows_without_nuclei_are_left_out():
    maps = MAPS.copy()
    maps[1] = 0.1
    maps[1, 150, 240] = 0.9
    (*_, window), = roll(maps=maps)
    assert window.own == (192, 96, 272, 192)


def test_glass_is_white_and_background():
    windows = roll(covers=lambda x, y, width, height: x == 0 or y == 0)
    maps, picture, tokens, window = next(
        entry for entry in windows if entry[3].own[:2] == (0, 192))
    assert window.seen[2] == 112
    assert (picture[:, 64:] == 255).all() and (maps[0, :, 64:] == 1).all()
    assert not maps[1:, :, 64:].any() and not tokens[:, :, 4:].any()


def test_memory_does_not_follow_the_length_of_the_slide():
    kept = []
    for height in (640, 3200):
        plan = plan_tiles((height, 64), (64, 64), (16, 16), 16, None, 96)
        rolling, band = RollingBand(plan, NETWORK, first_row=0), 0
        maps, tokens = torch.zeros(1, 7, 64, 64), torch.zeros(1, 4, 4, 4)
        for row in range(len(plan.tops)):
            rolling.add(TileBatch(row, (0,), np.zeros((1, 64, 64, 3), np.uint8)),
                        maps, tokens)
            rolling.finish_row(row)
            rolling.receive(num_left=0)
            while rolling.has(band) and band < plan.num_bands - 1:
                rolling.forget(band)
                band += 1
        kept.append([sum(rows.shape[-2] for _, rows in part.parts)
                     for part in (rolling.maps, rolling.pixels, rolling.tokens)])
    assert max(kept[1]) < 300 and kept[0][0] < 300
