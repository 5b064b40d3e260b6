# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Iterator, Sequence

import numpy as np

from ..post_processing.instances import TOKEN_STRIDE
from .band_maps import BandMaps
from .rolling_rows import RollingRows
from .tile_plan import TilePlan
from .window_cells import Window

NP_NUCLEUS = 1  # the map with the probability of nucleus
WHITE = 255


class RollingBand:
    """Maps, tokens and picture of the band of a slide that is being worked on.

    Args:
        plan (TilePlan): Tiles, bands and windows, in px of the network.
        num_maps (int): 4 + C maps: NP first, background before nucleus.
        token_dims (int): Channels of the tokens.
        first_row (int): The row of tiles with which to begin.
    """

    def __init__(self, plan: TilePlan, num_maps: int, token_dims: int,
                 first_row: int) -> None:
        self.plan = plan
        first, last = plan.columns
        self.maps = BandMaps(plan, [1] + [0] * (num_maps - 1), first_row)
        self.tokens = BandMaps(plan.shrink(TOKEN_STRIDE), [0] * token_dims, first_row)
        self.picture = RollingRows(plan, (last - first, 3), np.uint8, WHITE, first_row)

    def add(self, row: int, lefts: Sequence[int], tiles: np.ndarray, maps: np.ndarray,
            tokens: np.ndarray) -> None:
        """Add tiles of the current row of tiles.

        Args:
            row (int): Which one it is.
            lefts (Sequence[int]): First column of each tile on the slide, px.
            tiles (np.ndarray): (B, h, w, 3) uint8 RGB.
            maps (np.ndarray): (B, 4 + C, h, w) numbers.
            tokens (np.ndarray): (B, D, h / 16, w / 16) numbers.
        """
        height, width = self.plan.tile
        top, offset = self.plan.tops[row], self.plan.columns[0]
        picture = self.picture.view(top, top + height)
        for left, tile, tile_maps, tile_tokens in zip(
                lefts, tiles, maps, tokens, strict=True):
            self.maps.add(left, tile_maps)
            self.tokens.add(left // TOKEN_STRIDE, tile_tokens)
            picture[:, left - offset:left - offset + width] = tile

    def finish_row(self, row: int) -> None:
        """Go on to the next row of tiles."""
        next_top = self.plan.next_top(row)
        self.maps.finish_row(next_top)
        self.tokens.finish_row(next_top // TOKEN_STRIDE)

    def has(self, band: int) -> bool:
        """Whether all rows that a band sees are finished."""
        return self.maps.has(band)

    def take(self, band: int) -> Iterator[
            tuple[np.ndarray, np.ndarray, np.ndarray, Window]]:
        """The windows with foreground of a band; forgets what no later band sees.

        They are cut one by one: take all of them before anything is added.

        Yields:
            tuple: What `find_window_cells` takes: (4 + C, h, w) float16 maps, (h, w, 3)
            uint8 RGB picture, (D, h / 16, w / 16) float16 tokens, and where that is.
        """
        parts = self.maps.finished, self.picture, self.tokens.finished
        yield from self._cut(band, *(part.seen(band) for part in parts))
        for part in parts:
            part.forget(band)

    def _cut(self, band: int, maps: np.ndarray, picture: np.ndarray,
             tokens: np.ndarray) -> Iterator[tuple]:
        """Copies of the windows with foreground of what a band sees."""
        top, bottom = self.plan.seen_rows(band)
        own_top, own_bottom = self.plan.own_rows(band)
        first, last = self.plan.columns
        for own_left, own_right in self.plan.own_columns():
            left = max(own_left - self.plan.margin, first)
            right = min(own_right + self.plan.margin, last, self.plan.shape[1])
            columns = slice(left - first, right - first)
            token_columns = slice((left - first) // TOKEN_STRIDE,
                                  -(-(right - first) // TOKEN_STRIDE))
            if (maps[:, NP_NUCLEUS, columns] > 0.5).any():
                yield (maps[..., columns].swapaxes(0, 1).copy(),
                       picture[:, columns].copy(),
                       tokens[..., token_columns].swapaxes(0, 1).copy(),
                       Window((left, top, right, bottom),
                              (own_left, own_top, own_right, own_bottom)))
