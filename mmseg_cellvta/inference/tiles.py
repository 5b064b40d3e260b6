# Copyright (c) CellVTA-MMSeg contributors.
"""Where the tiles of a slide lie, and reading them ahead."""
import pickle
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..post_processing.instances import TOKEN_STRIDE
from ..slides import SlideCanvas
from ..utils.tiling import tile_starts
from .workers import SharedPool

# px of the network: 20,000 columns take about 1 GB. Windows are squares of it: wider
# ones have less margin, but leave the processor's cache.
BAND_HEIGHT = 1024
WIDE_BAND_HEIGHT = 1536  # with cells around nuclei, whose margins cost less so
# A nucleus reaches 15 µm from its centre, and what lies around it shapes its outline.
MARGIN_UM = 20.0
NUCLEUS_UM = 15.0


@dataclass(frozen=True)
class TilePlan:
    """Which parts of a slide the network and the post-processing see, all in px.

    The network works in tiles that overlap, row by row of tiles. What it gives is
    blended and taken apart into nuclei in bands, and within a band in windows. A window
    sees `margin` px more on each side than it answers for.

    Attributes:
        shape: (height, width) of the slide at the network's scale.
        tile: (height, width) of a tile, multiples of 16.
        tops: First row of every row of tiles.
        lefts: First column of every tile to be seen, per row of tiles; empty where
            there is no tissue.
        stride: (rows, columns) from one tile to the next.
        band_height: Rows of a band, and columns of a window.
        margin: Rows and columns that a window sees around its own.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    tops: tuple[int, ...]
    lefts: tuple[tuple[int, ...], ...]
    stride: tuple[int, int]
    band_height: int
    margin: int

    @property
    def num_bands(self) -> int:
        return -(-self.shape[0] // self.band_height)

    @cached_property
    def columns(self) -> tuple[int, int]:
        """First and last (exclusive) column that any tile covers."""
        used = [row for row in self.lefts if row]
        if not used:
            return 0, 0
        return min(row[0] for row in used), max(row[-1] for row in used) + self.tile[1]

    @cached_property
    def covered_px(self) -> int:
        """Px of the slide that tiles cover; where tiles overlap they count once."""
        edges = sorted({*self.tops, *(top + self.tile[0] for top in self.tops)})
        total, first = 0, 0
        for begin, end in pairwise(edges):
            while self.tops[first] + self.tile[0] <= begin:
                first += 1
            lefts = set()
            for row in range(first, len(self.tops)):
                if self.tops[row] > begin:
                    break
                lefts.update(self.lefts[row])
            height = min(end, self.shape[0]) - min(begin, self.shape[0])
            total += height * self._covered_columns(sorted(lefts))
        return total

    def _covered_columns(self, lefts: list[int]) -> int:
        total, reached = 0, 0
        for left in lefts:
            right = min(left + self.tile[1], self.shape[1])
            total += right - max(left, reached)
            reached = right
        return total

    def own_rows(self, band: int) -> tuple[int, int]:
        """First and last (exclusive) row that a band answers for."""
        begin = band * self.band_height
        return begin, min(begin + self.band_height, self.shape[0])

    def seen_rows(self, band: int) -> tuple[int, int]:
        """First and last (exclusive) row that a band sees."""
        begin, end = self.own_rows(band)
        return max(begin - self.margin, 0), min(end + self.margin, self.shape[0])

    def tile_rows(self, bands: range) -> range:
        """The rows of tiles that reach into what neighbouring bands see."""
        begin, end = self.seen_rows(bands[0])[0], self.seen_rows(bands[-1])[1]
        return range(bisect_right(self.tops, begin - self.tile[0]),
                     bisect_left(self.tops, end))

    def num_tiles(self, bands: range) -> int:
        """Tiles that the network must see for neighbouring bands; 0 for no bands."""
        rows = self.tile_rows(bands) if bands else ()
        return sum(len(self.lefts[row]) for row in rows)

    def next_top(self, row: int) -> int:
        """First row of the slide, px, that tiles after a row of tiles still change."""
        last = row + 1 == len(self.tops)
        return self.tops[row] + self.tile[0] if last else self.tops[row + 1]

    def windows(self) -> Iterator[tuple[int, int]]:
        """First and last (exclusive) column of each window of a band."""
        begin, end = self.columns
        end = min(end, self.shape[1])
        for left in range(begin, end, self.band_height):
            yield left, min(left + self.band_height, end)

    def share(self, num_parts: int) -> list[range]:
        """Splits the bands into neighbouring ones with about equally many tiles.

        Args:
            num_parts: Number of parts; some are empty where there are fewer bands.

        Returns:
            Bands of each part. No other split has fewer tiles in its fullest part.
        """
        low, high = 0, self.num_tiles(range(self.num_bands))
        while low < high:  # the smallest number of tiles that suffices for a part
            middle = (low + high) // 2
            if self._fill(num_parts, middle) is None:
                low = middle + 1
            else:
                high = middle
        return self._fill(num_parts, high)

    def _fill(self, num_parts: int, most: int) -> list[range] | None:
        """Gives each part as many bands as it may have tiles; None if some are left."""
        parts, begin = [], 0
        for _ in range(num_parts):
            end = begin
            while end < self.num_bands and (
                    self.num_tiles(range(begin, end + 1)) <= most):
                end += 1
            parts.append(range(begin, end))
            begin = end
        return parts if begin == self.num_bands else None


def plan_tiles(shape: Sequence[int], tile: Sequence[int], overlap: Sequence[int],
               margin: int, covers: Callable[[int, int, int, int], bool] | None = None,
               band_height: int = BAND_HEIGHT) -> TilePlan:
    """Lays tiles over a slide.

    Args:
        shape: (height, width) px of the slide at the network's scale.
        tile: (height, width) px of a tile; smaller slides have smaller ones. Tiles may
            end up to 15 px outside the slide.
        overlap: (rows, columns) px that neighbouring tiles share.
        margin: What a window sees around its own, px; a multiple of 16.
        covers: Returns True when a rectangle, x, y, width, height in px, has tissue;
            None keeps all tiles.
        band_height: Rows of a band and columns of a window, px; a multiple of 16.

    Raises:
        ValueError: When a tile side is no multiple of 16 px or not above its overlap.
    """
    padded = [-(-length // TOKEN_STRIDE) * TOKEN_STRIDE for length in shape]
    for size, shared in zip(tile, overlap, strict=True):
        if size % TOKEN_STRIDE or shared % TOKEN_STRIDE or not 0 <= shared < size:
            raise ValueError(
                f'tiles of {size} px with an overlap of {shared} px: expected '
                f'multiples of {TOKEN_STRIDE} px, and the overlap smaller than the '
                'tile')
    tile = tuple(min(pair) for pair in zip(tile, padded, strict=True))
    stride = tuple(max(size - shared, TOKEN_STRIDE) for size, shared in zip(
        tile, overlap, strict=True))
    tops, lefts = (
        tile_starts(*axis) for axis in zip(padded, tile, stride, strict=True))
    rows = tuple(
        tuple(left for left in lefts
              if covers is None or covers(left, top, tile[1], tile[0]))
        for top in tops)
    return TilePlan(tuple(shape), tile, tuple(tops), rows, stride, band_height, margin)


def window_margin(mpp: float, expand_um: float | None = None) -> int:
    """Returns what a window sees around its own, px of `mpp`, on the grid of tokens.

    Cells that reach `expand_um` from their nuclei meet those of nuclei twice as far
    away, which must be seen as far as their centres.
    """
    margin_um = MARGIN_UM if expand_um is None else (
        MARGIN_UM + 2 * expand_um + NUCLEUS_UM)
    return -(-round(margin_um / mpp) // TOKEN_STRIDE) * TOKEN_STRIDE


def band_height(expand_um: float | None = None) -> int:
    """Returns the rows of a band and columns of a window, px of the network."""
    return BAND_HEIGHT if expand_um is None else WIDE_BAND_HEIGHT


class TileBatch(NamedTuple):
    """Tiles that the network sees at once, all of one row of tiles.

    Attributes:
        row: Their row of tiles.
        lefts: First column of each, px.
        pixels: (B, h, w, 3) uint8 RGB, 0-255.
    """

    row: int
    lefts: tuple[int, ...]
    pixels: np.ndarray


class TileReader:
    """Reads the tiles of a slide in batches, some batches ahead.

    A batch never spans two rows of tiles, so that it holds the same tiles wherever the
    work begins: results do not depend on interruptions or on who does which band.

    Args:
        canvas: The slide at the network's scale.
        plan: Where the tiles lie.
        batch_size: Tiles per batch, at most.
        pool: Reads them; its places hold a batch each.
    """

    def __init__(self, canvas: SlideCanvas, plan: TilePlan, batch_size: int,
                 pool: SharedPool) -> None:
        self.damaged = canvas.reader.damaged
        self.canvas = canvas if not pool.num_workers else pickle.dumps(canvas)
        self.plan = plan
        self.batch_size = batch_size
        self.pool = pool

    def read(self, rows: range) -> Iterator[Iterator[TileBatch]]:
        """Reads rows of tiles, from top to bottom.

        Yields:
            The batches of each row. Their pixels are valid until the next one is asked
            for.
        """
        jobs, ahead = self._jobs(rows), deque()
        try:
            for row in rows:
                yield self._read_row(row, jobs, ahead)
        finally:  # also when nobody wants the rest
            for _, place, future in ahead:
                future.exception()
                self.pool.release(place)

    def _jobs(self, rows: range) -> Iterator[tuple[int, tuple[int, ...]]]:
        for row in rows:
            lefts = self.plan.lefts[row]
            for first in range(0, len(lefts), self.batch_size):
                yield row, lefts[first:first + self.batch_size]

    def _read_row(self, row: int, jobs: Iterator, ahead: deque) -> Iterator[TileBatch]:
        plan = self.plan
        for _ in range(0, len(plan.lefts[row]), self.batch_size):
            while len(ahead) < self.pool.num_places and (job := next(jobs, None)):
                place = self.pool.borrow()
                ahead.append((job, place, self.pool.submit(
                    place, read_tiles, self.canvas, plan.tile, plan.tops[job[0]],
                    job[1])))
            (found, lefts), place, future = ahead[0]
            assert found == row
            self.damaged |= future.result()
            pixels = self.pool.array(place, (len(lefts), *plan.tile, 3), np.uint8)
            yield TileBatch(row, lefts, pixels)
            ahead.popleft()
            self.pool.release(place)


def read_tiles(memory: memoryview, canvas: SlideCanvas | bytes, tile: tuple[int, int],
               top: int, lefts: Sequence[int]) -> set[tuple[int, int, int]]:
    """Reads tiles (h, w, 3) uint8 RGB of one row one behind the other into `memory`.

    Returns:
        The damaged blocks of the slide that this process knows; see `SlideReader`.
    """
    if isinstance(canvas, bytes):
        canvas = _unpickle(canvas)
    height, width = tile
    pixels = np.frombuffer(memory, np.uint8, len(lefts) * height * width * 3)
    for left, target in zip(
            lefts, pixels.reshape(-1, height, width, 3), strict=True):
        target[:] = canvas.read(left, top, width, height)
    return set(canvas.reader.damaged)


@lru_cache(maxsize=1)  # in a worker: the slide stays open from batch to batch
def _unpickle(canvas: bytes) -> SlideCanvas:
    return pickle.loads(canvas)
