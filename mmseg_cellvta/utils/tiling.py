# Copyright (c) CellVTA-MMSeg contributors.
"""Tiles that cover a line or an image with overlap. Plain numpy."""
from collections.abc import Sequence

import numpy as np


def tile_starts(length: int, size: int, stride: int) -> list[int]:
    """Returns the first px of each tile along one axis; the last ends at the border.

    Args:
        length: Length of the image, px.
        size: Length of a tile, px. A shorter image has one tile, at 0.
        stride: Distance of two tiles, px, at most `size`.

    Raises:
        ValueError: When `stride` is not in 1..`size`: pixels would be left out.
    """
    if not 0 < stride <= size:
        raise ValueError(f'stride={stride} px for tiles of {size} px: expected 1 to '
                         f'{size}, so that no pixel is left out')
    last = max(length - size, 0)
    return [*range(0, last, stride), last]


def blend_weight(size: Sequence[int], stride: Sequence[int]) -> np.ndarray:
    """Returns how much each pixel of a tile counts where tiles overlap.

    Args:
        size: (rows, columns) of a tile, px.
        stride: (rows, columns) from one tile to the next, px.

    Returns:
        Weights, float32 of shape `size`: 1 inside, falling linearly over the overlap
        and above 0 everywhere.
    """
    ramps = []
    for length, step in zip(size, stride, strict=True):
        distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
        ramps.append(np.minimum(distance / max(length - step, 0.5), 1))
    return np.outer(*ramps).astype(np.float32)
