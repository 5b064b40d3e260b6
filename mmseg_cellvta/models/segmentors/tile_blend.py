# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

import torch
from torch import Tensor


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
        self.weight = _tile_weight(size, stride)
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


def _tile_weight(size: Sequence[int], stride: Sequence[int]) -> Tensor:
    """(H, W) weight of a tile's maps: 1 inside, falling linearly over the overlap."""
    ramps = []
    for length, step in zip(size, stride, strict=True):
        distance = torch.arange(length).minimum(torch.arange(length).flip(0)) + 0.5
        ramps.append((distance / max(length - step, 0.5)).clamp(max=1))
    return ramps[0][:, None] * ramps[1]
