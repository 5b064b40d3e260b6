# Copyright (c) CellVTA-MMSeg contributors.
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from itertools import product

from ..utils.tiling import tile_starts


@dataclass(frozen=True)
class Tiling:
    """How pictures are cut into square tiles; the last one ends at the border.

    Attributes:
        size (int): Side of a tile, px; 0 leaves pictures whole.
        overlap (int): What two neighbours share at least, px.

    Raises:
        ValueError: If the tiles do not advance.
    """
    size: int = 0
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.size < 0 or not 0 <= self.overlap < max(self.size, 1):
            raise ValueError(
                f'tiles of {self.size} px with an overlap of {self.overlap} px: '
                'expected a size above 0, and an overlap from 0 to less than the size')

    def windows(self, name: str,
                shape: tuple[int, int]) -> dict[str, tuple[slice, slice]]:
        """Name and place of each tile, such as ``train_1_r0000_c0236``.

        Args:
            name (str): Name of the picture.
            shape (tuple[int, int]): (height, width) px.

        Raises:
            ValueError: If the picture is smaller than a tile.
        """
        if not self.size:
            return {name: (slice(None), slice(None))}
        if min(shape) < self.size:
            raise ValueError(f'{name}: {shape[1]} x {shape[0]} px, smaller than a tile '
                             f'of {self.size} x {self.size} px; choose smaller tiles')
        starts = (tile_starts(length, self.size, self.size - self.overlap)
                  for length in shape)
        return {
            f'{name}_r{top:04d}_c{left:04d}': (
                slice(top, top + self.size), slice(left, left + self.size))
            for top, left in product(*starts)
        }


def add_tile_options(parser: ArgumentParser) -> None:
    """Add the options that say how a converter cuts pictures."""
    parser.add_argument('--tile', type=int, default=0, metavar='PX',
                        help='cut pictures into tiles of PX x PX (default: whole)')
    parser.add_argument('--overlap', type=int, default=0, metavar='PX',
                        help='what neighbouring tiles share (default: 0)')


def read_tile_options(args: Namespace) -> Tiling:
    """The tiles that the options ask for."""
    return Tiling(args.tile, args.overlap)
