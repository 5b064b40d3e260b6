# Copyright (c) CellVTA-MMSeg contributors.
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from ..post_processing.hover_post_processor import WorkerPool
from ..slides import SlideCanvas
from ..structures import CellTable
from .rolling_band import RollingBand
from .stage_clock import StageClock
from .tile_batches import TileBatches
from .tile_network import TileNetwork
from .tile_plan import TilePlan
from .window_cells import NucleusSettings, Window, find_window_cells


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
        for band, windows in self._compute_windows(bands):
            with self.clock('nuclei'):
                waiting.append((band, [
                    self.pool.submit(find_window_cells, *window, self.settings)
                    for window in windows]))
            # One band stays with the pool, so that the network does not wait for it.
            while len(waiting) > 1:
                yield self._collect(*waiting.popleft())
        while waiting:
            yield self._collect(*waiting.popleft())

    def _compute_windows(self, bands: range) -> Iterator[tuple[int, Iterator]]:
        """Each band with its windows, see `RollingBand.take`."""
        plan, network, next_band = self.plan, self.network, bands[0]
        rows = plan.tile_rows(bands)
        rolling = RollingBand(plan, network.num_maps, network.token_dims, rows[0])
        batches = TileBatches(self.canvas, plan, rows, self.batch_size)
        ahead = batches.read_ahead(self.num_workers)
        for row in rows:
            for _ in range(0, len(plan.lefts[row]), self.batch_size):
                with self.clock('reading'):
                    _, lefts, tiles = next(ahead)
                with self.clock('network'):
                    maps, tokens = network(tiles)
                with self.clock('blending'):
                    rolling.add(row, lefts, tiles.numpy(), maps, tokens)
                self.progress(len(lefts))
            with self.clock('blending'):
                rolling.finish_row(row)
            while next_band in bands and rolling.has(next_band):
                yield next_band, rolling.take(next_band)
                next_band += 1

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

