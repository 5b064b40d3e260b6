# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

import numpy as np

from ..utils.tiling import blend_weight
from .tile_plan import TilePlan


class BandMaps:
    """The blended maps of a slide, of which only one band is in memory.

    Tiles come in from top to bottom; a tile counts less towards its border, where the
    network sees only one side of a nucleus. Rows below which no tile can reach any more
    are divided by their weight and kept, as float16, until their band is taken.

    Args:
        plan (TilePlan): Tiles and bands, in px of the maps.
        background (Sequence[float]): Value of each map where no tile was.
        first_row (int): The row of tiles with which to begin. Defaults to 0.
    """

    def __init__(self, plan: TilePlan, background: Sequence[float],
                 first_row: int = 0) -> None:
        self.plan = plan
        self.background = np.array(background, np.float32).reshape(-1, 1, 1)
        self.offset, end = plan.columns
        width = end - self.offset
        self.weight = blend_weight(plan.tile, plan.stride)
        # The row of tiles that is being filled.
        self.total = np.zeros((len(background), plan.tile[0], width), np.float32)
        self.weights = np.zeros((plan.tile[0], width), np.float32)
        # Finished rows, from `begin` to `end` on the slide.
        height = plan.band_height + 2 * (plan.margin + plan.tile[0])
        self.maps = np.zeros((len(background), height, width), np.float16)
        self.begin = self.end = plan.tops[first_row]

    def add(self, left: int, maps: np.ndarray) -> None:
        """Add a tile of the current row of tiles.

        Args:
            left (int): Its first column on the slide, px.
            maps (np.ndarray): (C, h, w) numbers.
        """
        columns = slice(left - self.offset, left - self.offset + maps.shape[2])
        self.total[..., columns] += self.weight * maps
        self.weights[:, columns] += self.weight

    def finish_row(self, next_top: int) -> None:
        """Go on to the row of tiles that begins at row `next_top` of the slide."""
        num = next_top - self.end
        weights = self.weights[:num]
        with np.errstate(invalid='ignore'):
            blended = self.total[:, :num] / weights
        rows = slice(self.end - self.begin, next_top - self.begin)
        self.maps[:, rows] = np.where(weights > 0, blended, self.background)
        _scroll(self.total.swapaxes(0, 1), num)
        _scroll(self.weights, num)
        self.end = next_top

    def has(self, band: int) -> bool:
        """Whether all rows that a band sees are finished."""
        return self.end >= self.plan.seen_rows(band)[1]

    def take(self, band: int) -> np.ndarray:
        """Returns what a band sees, and forgets what no later band sees.

        Returns:
            np.ndarray: (C, h, w) float16 maps over the rows `plan.seen_rows(band)` and
            the columns `plan.columns`.
        """
        first, last = (row - self.begin for row in self.plan.seen_rows(band))
        maps = self.maps[:, first:last].copy()
        if band + 1 < self.plan.num_bands:
            done = self.plan.seen_rows(band + 1)[0] - self.begin
            _scroll(self.maps.swapaxes(0, 1), done)
            self.begin += done
        return maps


def _scroll(rows: np.ndarray, num: int) -> None:
    """Move rows up by `num`, in place, and fill what becomes free with 0."""
    kept = len(rows) - num
    for row in range(kept):
        rows[row] = rows[row + num]
    rows[kept:] = 0
