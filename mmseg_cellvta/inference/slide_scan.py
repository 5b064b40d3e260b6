# Copyright (c) CellVTA-MMSeg contributors.
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import torch

from ..post_processing.cell_tokens import TOKEN_STRIDE
from ..post_processing.worker_pool import WorkerPool
from ..slides import SlideCanvas
from ..structures import CellTable
from .band_maps import BandMaps
from .stage_clock import StageClock
from .tile_batches import TileBatches
from .tile_network import TileNetwork
from .tile_plan import TilePlan
from .window_cells import NucleusSettings, Window, find_window_cells

NP_NUCLEUS = 1  # the map with the probability of nucleus
WHITE = 255


class SlideScan:
    """Finds the nuclei of a slide band by band; memory does not grow with its length.

    Args:
        canvas (SlideCanvas): The slide at the network's scale.
        plan (TilePlan): Tiles, bands and windows.
        network (TileNetwork): Computes the maps.
        settings (NucleusSettings): How nuclei are found in maps.
        batch_size (int): Tiles that the network sees at once.
        num_workers (int): Processes that read tiles ahead; 0 reads when needed.
        pool (WorkerPool): Processes that find nuclei while the network goes on.
        clock (StageClock): Measures the stages.
        progress (Callable): Called with the number of tiles done.
    """

    def __init__(self, canvas: SlideCanvas, plan: TilePlan, network: TileNetwork,
                 settings: NucleusSettings, batch_size: int, num_workers: int,
                 pool: WorkerPool, clock: StageClock,
                 progress: Callable[[int], None]) -> None:
        self.canvas = canvas
        self.plan = plan
        self.network = network
        self.settings = settings
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pool = pool
        self.clock = clock
        self.progress = progress

    def run(self, bands: range) -> Iterator[tuple[int, CellTable]]:
        """Find the nuclei of neighbouring bands.

        Yields:
            tuple[int, CellTable]: A band and its nuclei, those on its border included
            (see `SeamFilter`), from top to bottom.
        """
        waiting = deque()
        for band, maps, tokens in self._compute_maps(bands):
            with self.clock('nuclei'):
                waiting.append((band, [
                    self.pool.submit(find_window_cells, *job, self.settings)
                    for job in self._windows(band, maps, tokens)]))
            # One band stays with the pool, so that the network does not wait for it.
            while len(waiting) > 1:
                yield self._collect(*waiting.popleft())
        while waiting:
            yield self._collect(*waiting.popleft())

    def _compute_maps(self, bands: range) -> Iterator[tuple[int, np.ndarray,
                                                            np.ndarray]]:
        """Each band with its maps, its picture after them, and its tokens."""
        plan, next_band = self.plan, bands[0]
        rows = plan.tile_rows(bands)
        background = [1] + [0] * (self.network.num_maps - 1) + [WHITE] * 3
        rolling = BandMaps(plan, background, rows[0])
        rolling_tokens = BandMaps(
            plan.shrink(TOKEN_STRIDE), [0] * self.network.token_dims, rows[0])
        batches = TileBatches(self.canvas, plan, rows, self.batch_size)
        ahead = batches.read_ahead(self.num_workers)
        for row in rows:
            for _ in range(0, len(plan.lefts[row]), self.batch_size):
                with self.clock('reading'):
                    _, lefts, tiles = next(ahead)
                self._add(rolling, rolling_tokens, lefts, tiles)
            with self.clock('blending'):
                rolling.finish_row(plan.next_top(row))
                rolling_tokens.finish_row(plan.next_top(row) // TOKEN_STRIDE)
            while next_band in bands and rolling.has(next_band):
                with self.clock('blending'):
                    taken = rolling.take(next_band), rolling_tokens.take(next_band)
                yield next_band, *taken
                next_band += 1

    def _add(self, rolling: BandMaps, rolling_tokens: BandMaps,
             lefts: tuple[int, ...], tiles: torch.Tensor) -> None:
        """Show tiles of the current row to the network and blend what it gives."""
        with self.clock('network'):
            batch = self.network(tiles)
        with self.clock('blending'):
            for left, maps, tokens, tile in zip(
                    lefts, *batch, tiles.numpy(), strict=True):
                rolling.add(left, np.concatenate([maps, tile.transpose(2, 0, 1)]))
                rolling_tokens.add(left // TOKEN_STRIDE, tokens)
        self.progress(len(lefts))

    def _windows(self, band: int, maps: np.ndarray, tokens: np.ndarray) -> Iterator[
            tuple[np.ndarray, np.ndarray, np.ndarray, Window]]:
        """Maps, picture, tokens and place of the windows with foreground in a band."""
        top, bottom = self.plan.seen_rows(band)
        first, last = self.plan.columns
        own_top, own_bottom = self.plan.own_rows(band)
        for own_left, own_right in self.plan.own_columns():
            left = max(own_left - self.plan.margin, first)
            right = min(own_right + self.plan.margin, last, self.plan.shape[1])
            part = maps[..., left - first:right - first]
            if (part[NP_NUCLEUS] > 0.5).any():
                token_columns = slice(
                    (left - first) // TOKEN_STRIDE, -(-(right - first) // TOKEN_STRIDE))
                yield (
                    np.ascontiguousarray(part[:-3]), _to_picture(part[-3:]),
                    np.ascontiguousarray(tokens[..., token_columns]),
                    Window((left, top, right, bottom),
                           (own_left, own_top, own_right, own_bottom)))

    def _collect(self, band: int, futures: list) -> tuple[int, CellTable]:
        with self.clock('nuclei'):
            tables = [future.result() for future in futures]
            return band, CellTable.concatenate([self._no_cells(), *tables])

    def _no_cells(self) -> CellTable:
        """A table without rows but with all columns."""
        maps = np.zeros((self.network.num_maps, 16, 16), np.float16)
        maps[0] = 1
        tokens = np.zeros((self.network.token_dims, 1, 1), np.float16)
        nowhere = Window((0, 0, 16, 16), (0, 0, 16, 16))
        return find_window_cells(
            maps, np.zeros((16, 16, 3), np.uint8), tokens, nowhere, self.settings)


def _to_picture(channels: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 of blended (3, h, w) pixels, which all tiles agree on."""
    return np.ascontiguousarray(
        np.rint(channels.astype(np.float32)).astype(np.uint8).transpose(1, 2, 0))
