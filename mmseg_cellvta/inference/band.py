# Copyright (c) CellVTA-MMSeg contributors.
"""From tiles to the windows of a band: maps, tokens and pixels."""
from collections import deque
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..post_processing.instances import TOKEN_STRIDE
from ..utils.tile_blend import TileBlend
from .cells import Window
from .network import TileNetwork
from .tiles import TileBatch, TilePlan

SCALES = 1, TOKEN_STRIDE  # px of the network per px of the maps and of the tokens
NP_NUCLEUS = 1  # the map with the probability of nucleus
WHITE = 255


class FinishedRows:
    """Rows of a slide, of which only those that coming windows see are kept.

    Args:
        begin: The row with which they begin.
    """

    def __init__(self, begin: int) -> None:
        self.end = begin
        self.parts = deque()  # first row, rows

    def append(self, rows: np.ndarray) -> None:
        """Adds the next rows (..., rows, width)."""
        self.parts.append((self.end, rows))
        self.end += rows.shape[-2]

    def cut(self, top: int, bottom: int, columns: slice) -> Iterator[
            tuple[slice, np.ndarray]]:
        """Yields parts of the rows `top` to `bottom`, and where they go from 0 on."""
        for first, rows in self.parts:
            begin, end = max(top, first), min(bottom, first + rows.shape[-2])
            if begin < end:
                yield (slice(begin - top, end - top),
                       rows[..., begin - first:end - first, columns])

    def copy(self, target: np.ndarray, top: int, left: int) -> None:
        """Fills an array (..., rows, columns) from row `top` and column `left` on."""
        columns = slice(left, left + target.shape[-1])
        for place, rows in self.cut(top, top + target.shape[-2], columns):
            target[..., place, :] = rows

    def forget(self, top: int) -> None:
        """Forgets what lies above a row."""
        while self.parts and self.parts[0][0] + self.parts[0][1].shape[-2] <= top:
            self.parts.popleft()


class RollingBand:
    """Maps, tokens and pixels of the band of a slide that is being worked on.

    Tiles are blended on the network's device. Rows that no tile can reach any more go
    home once, as float16 and without waiting for them, so that the device can go on.

    Args:
        plan: Tiles, bands and windows, in px of the network.
        network: Where the maps come from.
        first_row: The row of tiles with which to begin.
    """

    def __init__(self, plan: TilePlan, network: TileNetwork, first_row: int) -> None:
        self.plan = plan
        self.num_maps, self.token_dims = network.num_maps, network.token_dims
        self.offset, end = plan.columns
        self.width = end - self.offset
        # NP comes first, and in it background before nucleus.
        background = [1] + [0] * (self.num_maps - 1)
        self.blends = [self._begin_blend(background, 1, network.device)]
        if self.token_dims:
            self.blends.append(self._begin_blend(
                [0] * self.token_dims, TOKEN_STRIDE, network.device))
        # The three colours of a pixel lie beside each other, as three columns.
        self.strip = np.full((plan.tile[0], 3 * self.width), WHITE, np.uint8)
        top = plan.tops[first_row]
        self.maps, self.pixels = FinishedRows(top), FinishedRows(top)
        self.tokens = FinishedRows(top // TOKEN_STRIDE)
        self.on_the_way = deque()

    def _begin_blend(self, background: list[float], scale: int,
                     device: torch.device) -> TileBlend:
        tile, stride = ([side // scale for side in sides]
                        for sides in (self.plan.tile, self.plan.stride))
        blend = TileBlend(tile, stride, self.width // scale, background)
        blend.begin((len(background),), device)
        return blend

    def add(self, batch: TileBatch, maps: Tensor, tokens: Tensor) -> None:
        """Adds tiles of the current row of tiles, and what `TileNetwork` gives."""
        width = self.plan.tile[1]
        for left, pixels, *parts in zip(
                batch.lefts, batch.pixels, maps, tokens, strict=True):
            left -= self.offset
            self.strip[:, 3 * left:3 * (left + width)] = pixels.reshape(len(pixels), -1)
            for blend, part, scale in zip(self.blends, parts, SCALES, strict=False):
                blend.add(part, left // scale)

    def finish_row(self, row: int) -> None:
        """Goes on to the next row of tiles; the finished rows go on their way home."""
        num = self.plan.next_top(row) - self.plan.tops[row]
        finished = [_send_home(blend.finish(num // scale, torch.float16))
                    for blend, scale in zip(self.blends, SCALES, strict=False)]
        arrived = None
        if finished[0].is_pinned():
            arrived = torch.cuda.Event()
            arrived.record()
        self.on_the_way.append((arrived, finished, self.strip[:num].copy()))
        kept = len(self.strip) - num
        self.strip[:kept] = self.strip[num:].copy()
        self.strip[kept:] = WHITE

    def receive(self, num_left: int) -> None:
        """Waits until all but the last `num_left` rows of tiles are at home."""
        while len(self.on_the_way) > num_left:
            arrived, finished, pixels = self.on_the_way.popleft()
            if arrived is not None:
                arrived.synchronize()
            for rows, part in zip((self.maps, self.tokens), finished, strict=False):
                rows.append(part.numpy())
            self.pixels.append(pixels)

    def has(self, band: int) -> bool:
        """Returns True when all rows that a band sees are at home."""
        return self.maps.end >= self.plan.seen_rows(band)[1]

    def windows(self, band: int) -> Iterator[Window]:
        """Yields the windows of a band that hold foreground; `has` must be True."""
        top, bottom = self.plan.seen_rows(band)
        own_top, own_bottom = self.plan.own_rows(band)
        first, last = self.plan.columns
        for own_left, own_right in self.plan.windows():
            left = max(own_left - self.plan.margin, first)
            right = min(own_right + self.plan.margin, last, self.plan.shape[1])
            columns = slice(left - first, right - first)
            if any((rows[NP_NUCLEUS] > 0.5).any()
                   for _, rows in self.maps.cut(top, bottom, columns)):
                yield Window((left, top, right, bottom),
                             (own_left, own_top, own_right, own_bottom),
                             self.num_maps, self.token_dims)

    def fill(self, window: Window, memory: memoryview) -> None:
        """Copies what a window sees into memory, as `Window.arrays` lays it out."""
        left, top = window.seen[0] - self.offset, window.seen[1]
        maps, pixels, tokens = window.arrays(memory)
        self.maps.copy(maps, top, left)
        self.pixels.copy(pixels.reshape(len(pixels), -1), top, 3 * left)
        if self.token_dims:
            self.tokens.copy(tokens, top // TOKEN_STRIDE, left // TOKEN_STRIDE)

    def forget(self, band: int) -> None:
        """Forgets what no band after this one sees."""
        if band + 1 < self.plan.num_bands:
            top = self.plan.seen_rows(band + 1)[0]
            self.maps.forget(top)
            self.pixels.forget(top)
            self.tokens.forget(top // TOKEN_STRIDE)


def _send_home(rows: Tensor) -> Tensor:
    """Starts the copy of a tensor to the CPU; an event tells when it is there."""
    if rows.device.type != 'cuda':
        return rows.cpu()
    home = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
    return home.copy_(rows, non_blocking=True)
