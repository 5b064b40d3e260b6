# Copyright (c) CellVTA-MMSeg contributors.
from collections import defaultdict, deque
from concurrent.futures import Future

from ..structures import CellTable
from .band import RollingBand
from .cells import NucleusSettings, Window, find_cells
from .workers import SharedPool


class Handover:
    """Windows of finished bands on their way to the workers that find nuclei.

    They go when a worker's place in memory becomes free. The network waits for none:
    it only does when a band is finished and windows of the one before are still here,
    so that no more than two bands are kept.

    Args:
        pool: The workers, whose places hold what a window sees.
        settings: How to find nuclei.
    """

    def __init__(self, pool: SharedPool, settings: NucleusSettings) -> None:
        self.pool = pool
        self.settings = settings
        self._coming: deque[tuple[int, RollingBand, Window]] = deque()
        self._promised: dict[int, list[Future]] = defaultdict(list)

    def add(self, band: int, rolling: RollingBand) -> None:
        """Takes the windows of a band whose maps are all there."""
        while self._coming:
            self._hand(self.pool.borrow())
        windows = list(rolling.windows(band))
        self._coming.extend((band, rolling, window) for window in windows)
        if not windows:
            rolling.forget(band)
        self.push()

    def push(self) -> None:
        """Hands windows on as far as there are free places."""
        while self._coming and (place := self.pool.borrow_free()) is not None:
            self._hand(place)

    def collect(self, band: int) -> list[CellTable]:
        """Waits for the nuclei of a band; those of each window, in order."""
        while self._coming and self._coming[0][0] <= band:
            self._hand(self.pool.borrow())
        return [future.result() for future in self._promised.pop(band, ())]

    def _hand(self, place: int) -> None:
        band, rolling, window = self._coming.popleft()
        rolling.fill(window, self.pool.memory(place))
        if not self._coming:
            rolling.forget(band)
        future = self.pool.submit(place, find_cells, window, self.settings)
        future.add_done_callback(lambda _: self.pool.release(place))
        self._promised[band].append(future)
