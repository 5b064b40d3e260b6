# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np

from ..utils.tiling import blend_weight
from .tile_plan import TilePlan


class BandMaps:
    """The blended maps of a slide, of which only one band is in memory.

    Tiles come in from top to bottom; a tile counts less towards its border, where the
    network sees only one side of a nucleus. Rows below which no tile can reach any more
    are divided by their weight and kept, as float16, until their band is taken.

    Args:
        plan (TilePlan): Tiles and bands.
        num_maps (int): Number of maps; the first one is the probability of background,
            1 where no tile was.
        first_row (int): The row of tiles with which to begin. Defaults to 0.
    """

    def __init__(self, plan: TilePlan, num_maps: int, first_row: int = 0) -> None:
        self.plan = plan
        self.offset, end = plan.columns
        width = end - self.offset
        self.weight = blend_weight(plan.tile, plan.stride)
        # The row of tiles that is being filled.
        self.total = np.zeros((num_maps, plan.tile[0], width), np.float32)
        self.weights = np.zeros((plan.tile[0], width), np.float32)
        self.picture = np.full((plan.tile[0], width, 3), 255, np.uint8)
        # Finished rows, from `begin` to `end` on the slide.
        height = plan.band_height + 2 * (plan.margin + plan.tile[0])
        self.maps = np.zeros((num_maps, height, width), np.float16)
        self.image = np.zeros((height, width, 3), np.uint8)
        self.begin = self.end = plan.tops[first_row]

    def add(self, left: int, maps: np.ndarray, tile: np.ndarray) -> None:
        """Add a tile of the current row of tiles.

        Args:
            left (int): Its first column on the slide, px.
            maps (np.ndarray): (num_maps, h, w) float32 network output.
            tile (np.ndarray): (h, w, 3) uint8 RGB, what the network saw.
        """
        columns = slice(left - self.offset, left - self.offset + maps.shape[2])
        self.total[..., columns] += self.weight * maps
        self.weights[:, columns] += self.weight
        self.picture[:, columns] = tile

    def finish_row(self, next_top: int) -> None:
        """Go on to the row of tiles that begins at row `next_top` of the slide."""
        num = next_top - self.end
        seen = self.weights[:num] > 0
        rows = slice(self.end - self.begin, next_top - self.begin)
        with np.errstate(invalid='ignore'):
            blended = self.total[:, :num] / self.weights[:num]
        self.maps[:, rows] = np.where(seen, blended, 0)
        self.maps[0, rows][~seen] = 1
        self.image[rows] = self.picture[:num]
        for array, axis, empty in (
                (self.total, 1, 0), (self.weights, 0, 0), (self.picture, 0, 255)):
            _scroll(array, num, axis, empty)
        self.end = next_top

    def has(self, band: int) -> bool:
        """Whether all rows that a band sees are finished."""
        return self.end >= self.plan.seen_rows(band)[1]

    def take(self, band: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns what a band sees, and forgets what no later band sees.

        Returns:
            tuple[np.ndarray, np.ndarray]: (num_maps, h, w) float16 maps and
            (h, w, 3) uint8 RGB picture, over the rows `plan.seen_rows(band)` and the
            columns `plan.columns`.
        """
        first, last = (row - self.begin for row in self.plan.seen_rows(band))
        maps = self.maps[:, first:last].copy()
        image = self.image[first:last].copy()
        if band + 1 < self.plan.num_bands:
            done = self.plan.seen_rows(band + 1)[0] - self.begin
            _scroll(self.maps, done, 1, 0)
            _scroll(self.image, done, 0, 0)
            self.begin += done
        return maps, image


def _scroll(array: np.ndarray, num: int, axis: int, empty: int) -> None:
    """Move the rows of an array up by `num` and fill the rows that become free."""
    rows = np.moveaxis(array, axis, 0)
    kept = len(rows) - num
    for row in range(kept):
        rows[row] = rows[row + num]
    rows[kept:] = empty
