# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

import numpy as np

from ..utils.tiling import blend_weight
from .rolling_rows import RollingRows, scroll
from .tile_plan import TilePlan


class BandMaps:
    """The blended maps of a slide, of which only one band is in memory.

    Tiles come in from top to bottom; a tile counts less towards its border, where the
    network sees only one side of a nucleus. Rows below which no tile can reach any more
    are divided by their weight and finished.

    Args:
        plan (TilePlan): Tiles and bands, in px of the maps.
        background (Sequence[float]): Value of each map where no tile was.
        first_row (int): The row of tiles with which to begin. Defaults to 0.

    Attributes:
        finished (RollingRows): (rows, C, width) float16, over `plan.columns`.
    """

    def __init__(self, plan: TilePlan, background: Sequence[float],
                 first_row: int = 0) -> None:
        self.plan = plan
        self.background = np.array(background, np.float32).reshape(-1, 1)
        self.offset, end = plan.columns
        width = end - self.offset
        self.weight = blend_weight(plan.tile, plan.stride)[:, None]
        # The row of tiles that is being filled; rows come first, then maps.
        self.total = np.zeros((plan.tile[0], len(background), width), np.float32)
        self.weights = np.zeros((plan.tile[0], 1, width), np.float32)
        self.finished = RollingRows(
            plan, (len(background), width), np.float16, first_row=first_row)
        self.end = plan.tops[first_row]

    def add(self, left: int, maps: np.ndarray) -> None:
        """Add a tile of the current row of tiles.

        Args:
            left (int): Its first column on the slide, px.
            maps (np.ndarray): (C, h, w) numbers.
        """
        columns = slice(left - self.offset, left - self.offset + maps.shape[2])
        self.total[..., columns] += self.weight * maps.swapaxes(0, 1)
        self.weights[..., columns] += self.weight

    def finish_row(self, next_top: int) -> None:
        """Go on to the row of tiles that begins at row `next_top` of the slide."""
        num = next_top - self.end
        total, weights = self.total[:num], self.weights[:num]
        np.divide(total, weights, out=total, where=weights > 0)
        np.copyto(total, self.background, where=weights == 0)
        self.finished.view(self.end, next_top)[:] = total
        scroll(self.total, num)
        scroll(self.weights, num)
        self.end = next_top

    def has(self, band: int) -> bool:
        """Whether all rows that a band sees are finished."""
        return self.end >= self.plan.seen_rows(band)[1]
