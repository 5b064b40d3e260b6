# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

import torch
from torch import Tensor

from ...utils.tiling import blend_weight


class TileBlend:
    """Mean of the maps of overlapping tiles.

    A tile counts less towards its border, where the network sees only one side of a
    nucleus.

    Args:
        shape: (H, W) of the whole, px of the maps.
        size: (rows, columns) of a tile, px of the maps.
        stride: (rows, columns) between two tiles, px of the maps.
    """

    def __init__(self, shape: Sequence[int], size: Sequence[int],
                 stride: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.weight = torch.from_numpy(blend_weight(size, stride))
        self.total = None

    def add(self, maps: Tensor, top: int, left: int) -> None:
        """Adds a tile's maps, (N, C, rows, columns) float, whose first px is given."""
        if self.total is None:
            self.weight = self.weight.to(maps)
            self.total = maps.new_zeros(*maps.shape[:2], *self.shape)
            self.weights = maps.new_zeros(self.shape)
        rows, columns = self.weight.shape
        window = slice(top, top + rows), slice(left, left + columns)
        self.total[(..., *window)] += self.weight * maps
        self.weights[window] += self.weight

    def mean(self) -> Tensor:
        """Returns the (N, C, H, W) maps; the tiles must have covered the whole."""
        return self.total / self.weights
