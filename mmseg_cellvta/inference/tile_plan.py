# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..post_processing.instances import TOKEN_STRIDE
from ..utils.tiling import tile_starts


@dataclass(frozen=True)
class TilePlan:
    """Which parts of a slide the network and the post-processing see, all in px.

    The network works in tiles that overlap, row by row of tiles. What it gives is
    blended and taken apart into nuclei in bands, and within a band in windows. A window
    sees `margin` px more on each side than it answers for.

    Attributes:
        shape (tuple[int, int]): (height, width) of the slide at the network's scale.
        tile (tuple[int, int]): (height, width) of a tile, multiples of 16.
        tops (tuple[int, ...]): First row of every row of tiles.
        lefts (tuple[tuple[int, ...], ...]): First column of every tile to be seen, per
            row of tiles; empty where there is no tissue.
        stride (tuple[int, int]): (rows, columns) from one tile to the next.
        band_height (int): Rows of a band, and columns of a window.
        margin (int): Rows and columns that a window sees around its own.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    tops: tuple[int, ...]
    lefts: tuple[tuple[int, ...], ...]
    stride: tuple[int, int]
    band_height: int
    margin: int

    def shrink(self, stride: int) -> 'TilePlan':
        """The same plan in cells of `stride` x `stride` px, which all tiles lie on."""
        def cells(lengths: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(-(-length // stride) for length in lengths)

        return TilePlan(
            cells(self.shape), cells(self.tile), cells(self.tops),
            tuple(map(cells, self.lefts)), cells(self.stride),
            *cells((self.band_height, self.margin)))

    @property
    def num_bands(self) -> int:
        return -(-self.shape[0] // self.band_height)

    @property
    def columns(self) -> tuple[int, int]:
        """First and last (exclusive) column that any tile covers."""
        used = [left for row in self.lefts for left in row]
        return (min(used), max(used) + self.tile[1]) if used else (0, 0)

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
        rows = [index for index, top in enumerate(self.tops)
                if top < end and top + self.tile[0] > begin]
        return range(rows[0], rows[-1] + 1)

    def num_tiles(self, bands: range) -> int:
        """Tiles that the network must see for neighbouring bands."""
        return sum(len(self.lefts[row]) for row in self.tile_rows(bands))

    def next_top(self, row: int) -> int:
        """First row of the slide, px, that tiles after a row of tiles still change."""
        last = row + 1 == len(self.tops)
        return self.tops[row] + self.tile[0] if last else self.tops[row + 1]

    def own_columns(self) -> Iterator[tuple[int, int]]:
        """First and last (exclusive) column of each window of a band."""
        begin, end = self.columns
        end = min(end, self.shape[1])
        for left in range(begin, end, self.band_height):
            yield left, min(left + self.band_height, end)


def plan_tiles(shape: Sequence[int], tile: Sequence[int], overlap: Sequence[int],
               band_height: int, margin: int,
               covers: Callable[[int, int, int, int], bool] | None = None) -> TilePlan:
    """Lay tiles over a slide.

    Args:
        shape (Sequence[int]): (height, width) px of the slide at the network's scale.
        tile (Sequence[int]): (height, width) px of a tile; smaller slides have smaller
            ones. Tiles may end up to 15 px outside the slide.
        overlap (Sequence[int]): (rows, columns) px that neighbouring tiles share.
        band_height (int): Rows of a band, px.
        margin (int): What a window sees around its own, px; rounded up to 16.
        covers (Callable, optional): Whether a rectangle, x, y, width, height in px,
            has tissue; without it all tiles are kept.

    Raises:
        ValueError: If a tile side is no multiple of 16 px or not above its overlap.
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
    margin = -(-margin // TOKEN_STRIDE) * TOKEN_STRIDE
    return TilePlan(tuple(shape), tile, tuple(tops), rows, stride, band_height, margin)
