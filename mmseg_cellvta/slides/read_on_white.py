# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable

import numpy as np


def read_on_white(shape: tuple[int, int], x: int, y: int, width: int, height: int,
                  read_inside: Callable[..., np.ndarray]) -> np.ndarray:
    """Read any rectangle from something that can be read inside its borders only.

    Args:
        shape (tuple[int, int]): (height, width) px of what is read.
        x (int): Left border of the rectangle, px.
        y (int): Upper border, px.
        width (int): Width, px.
        height (int): Height, px.
        read_inside (Callable): Called with x, y, width, height of the part inside,
            returns (height, width, 3) uint8.

    Returns:
        np.ndarray: (height, width, 3) uint8, contiguous, white outside.
    """
    left, right = max(x, 0), min(x + width, shape[1])
    top, bottom = max(y, 0), min(y + height, shape[0])
    if left >= right or top >= bottom:
        return np.full((height, width, 3), 255, np.uint8)
    inside = read_inside(left, top, right - left, bottom - top)
    if inside.shape[:2] == (height, width):
        return np.ascontiguousarray(inside)
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[top - y:bottom - y, left - x:right - x] = inside
    return picture
