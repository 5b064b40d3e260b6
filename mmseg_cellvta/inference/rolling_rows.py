# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from .tile_plan import TilePlan


class RollingRows:
    """Rows of a slide, of which only those that coming bands see are in memory.

    Args:
        plan (TilePlan): Tiles and bands.
        row_shape (Sequence[int]): Shape of a row.
        dtype (DTypeLike): Its type.
        fill (float): What a row holds before it is written. Defaults to 0.
        first_row (int): The row of tiles with which to begin. Defaults to 0.
    """

    def __init__(self, plan: TilePlan, row_shape: Sequence[int], dtype: DTypeLike,
                 fill: float = 0, first_row: int = 0) -> None:
        self.plan = plan
        self.fill = fill
        self.begin = plan.tops[first_row]
        height = plan.band_height + 2 * (plan.margin + plan.tile[0])
        self.rows = np.full((height, *row_shape), fill, dtype)

    def view(self, first: int, last: int) -> np.ndarray:
        """The rows `first` to `last` (exclusive) of the slide, to be written."""
        assert self.begin <= first <= last <= self.begin + len(self.rows)
        return self.rows[first - self.begin:last - self.begin]

    def seen(self, band: int) -> np.ndarray:
        """The rows that a band sees; they change when rows are forgotten."""
        return self.view(*self.plan.seen_rows(band))

    def forget(self, band: int) -> None:
        """Forget what no band after this one sees."""
        if band + 1 < self.plan.num_bands:
            begin = self.plan.seen_rows(band + 1)[0]
            scroll(self.rows, begin - self.begin, self.fill)
            self.begin = begin


def scroll(rows: np.ndarray, num: int, fill: float = 0) -> None:
    """Move rows up by `num`, in place, and fill what becomes free."""
    kept = len(rows) - num
    for row in range(kept):  # in one piece it would take a copy of all
        rows[row] = rows[row + num]
    rows[kept:] = fill
