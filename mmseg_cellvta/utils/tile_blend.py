# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

import torch
from torch import Tensor

from .tiling import blend_weight

# What a pixel's value before any tile counts: it is background where no tile comes, and
# vanishes in float32 beside the smallest weight of a tile.
FIRST_WEIGHT = 1e-12


class TileBlend:
    """Mean of the maps of overlapping tiles, row of tiles by row of tiles.

    A tile counts less towards its border, where the network sees only one side of a
    nucleus. Only one row of tiles is in memory, on the device of the maps; the mean is
    taken when no tile can reach a row of pixels any more.

    Args:
        size: (rows, columns) of a tile, px of the maps.
        stride: (rows, columns) from one tile to the next, px of the maps.
        width: Columns of the whole, px of the maps.
        background: Value of each map where no tile is; 0 for all unless given.
    """

    def __init__(self, size: Sequence[int], stride: Sequence[int], width: int,
                 background: Sequence[float] | None = None) -> None:
        self.size = tuple(size)
        self.weight = torch.from_numpy(blend_weight(size, stride))
        self.width = width
        self.background = background
        self.total = None

    def begin(self, shape: Sequence[int], device: torch.device) -> None:
        """Makes room for maps (*shape, rows, columns); the first tile does it too."""
        background = self.background or [0] * shape[-1]
        self.weight = self.weight.to(device)
        self.first = torch.tensor(background, device=device)[:, None, None]
        self.total = torch.empty(*shape, self.size[0], self.width, device=device)
        self.weights = torch.empty(self.size[0], self.width, device=device)
        self._clear(slice(None))

    def add(self, maps: Tensor, left: int) -> None:
        """Adds a tile of the current row of tiles.

        Args:
            maps: (..., C, rows, columns) float maps of the tile.
            left: Its first column, px of the maps.
        """
        if self.total is None:
            self.begin(maps.shape[:-2], maps.device)
        columns = slice(left, left + self.size[1])
        self.total[..., columns].addcmul_(maps, self.weight)
        self.weights[:, columns] += self.weight

    def finish(self, num_rows: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Takes out the first rows, and goes on to the row of tiles that begins below.

        Args:
            num_rows: Rows from the current row of tiles to the next, px of the maps.
            dtype: Type of the result.

        Returns:
            (..., C, num_rows, width) maps.
        """
        finished = self.total[..., :num_rows, :].div_(self.weights[:num_rows]).to(
            dtype, copy=True)
        kept = self.size[0] - num_rows
        self.total[..., :kept, :] = self.total[..., num_rows:, :].clone()
        self.weights[:kept] = self.weights[num_rows:].clone()
        self._clear(slice(kept, None))
        return finished

    def _clear(self, rows: slice) -> None:
        self.total[..., rows, :] = FIRST_WEIGHT * self.first
        self.weights[rows] = FIRST_WEIGHT
