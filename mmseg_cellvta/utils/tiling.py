# Copyright (c) CellVTA-MMSeg contributors.
"""Tiles that cover a line or a picture with overlap (plain numpy)."""
from collections.abc import Sequence

import numpy as np


def tile_starts(length: int, size: int, stride: int) -> list[int]:
    """First px of each tile along one axis; the last one ends at the border.

    Args:
        length (int): Length of the picture, px.
        size (int): Length of a tile, px. A shorter picture has one tile, at 0.
        stride (int): Distance of two tiles, px, at most `size`.

    Raises:
        ValueError: If `stride` is not in 1..`size`: pixels would be left out.
    """
    if not 0 < stride <= size:
        raise ValueError(f'stride={stride} px for tiles of {size} px: expected 1 to '
                         f'{size}, so that no pixel is left out')
    last = max(length - size, 0)
    return [*range(0, last, stride), last]


def blend_weight(size: Sequence[int], stride: Sequence[int]) -> np.ndarray:
    """How much each pixel of a tile counts where tiles overlap.

    Args:
        size (Sequence[int]): (rows, columns) px of a tile.
        stride (Sequence[int]): (rows, columns) px from one tile to the next.

    Returns:
        np.ndarray: float32 of shape `size`, 1 inside, falling linearly over the overlap
        and above 0 everywhere.
    """
    ramps = []
    for length, step in zip(size, stride, strict=True):
        distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
        ramps.append(np.minimum(distance / max(length - step, 0.5), 1))
    return np.outer(*ramps).astype(np.float32)
