# Copyright (c) CellVTA-MMSeg contributors.
"""Outlines of parts of a label map that share their borders and never overlap."""
from collections.abc import Sequence

import numpy as np

from .cell_table import GRID_PX

# The eight directions as x, y steps, counter-clockwise on a screen; even ones lead to
# pixels that share a side.
STEPS = np.array([(1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)])
DIRECTIONS = np.full((3, 3), -1, np.int8)  # by row and column of a step, from -1 on
DIRECTIONS[STEPS[:, 1] + 1, STEPS[:, 0] + 1] = np.arange(8)


def shared_outlines(borders: Sequence[np.ndarray],
                    offset: tuple[float, float] = (0, 0),
                    scale: tuple[float, float] = (1, 1)) -> list[np.ndarray]:
    """Returns outlines through the middles of the sides of the border's pixels.

    Each depends on the pixels of its own part alone, of which it cuts the corners.
    Parts without common pixels have outlines without common area, and the outline of a
    part of another part lies within that one's, to the last digit.

    Args:
        borders: N borders (K, 2) int, (x, y) px of a map, every pixel in turn,
            counter-clockwise on a screen, as OpenCV follows them.
        offset: (x, y) px of the map's top left corner.
        scale: Px of the target per px of the map, along x and y.

    Returns:
        N closed rings (K, 2) float64, (x, y) px of the target, multiples of 1/8, or of
        less where these px are over four times as large as the map's. Each bounds a
        valid polygon without holes.
    """
    if not len(borders):
        return []
    points = np.concatenate(borders)
    owners = np.repeat(np.arange(len(borders)), [len(border) for border in borders])
    before, after = _neighbours(owners)
    step = points[after] - points
    forth = DIRECTIONS[step[:, 1] + 1, step[:, 0] + 1]
    back = np.where(forth < 0, forth, (forth[before] + 4) % 8)
    # Between the two, on the outer side, no neighbour belongs to the part.
    turn = np.where(forth < 0, 9, (forth - back - 1) % 8 + 1)  # a single pixel: all
    first = np.where(forth < 0, 0, back + 2 - back % 2)
    sides = first[:, None] + np.arange(0, 8, 2, dtype=np.int8)
    seen = sides - back[:, None] < turn[:, None]
    rows = np.repeat(np.arange(len(points)), seen.sum(axis=1))
    middles = points[rows] + (0.5 + STEPS / 2)[sides[seen] % 8]
    owners = owners[rows]
    grid = GRID_PX
    while grid > min(scale) / 2:  # distinct points must stay so
        grid /= 2
    middles = np.round((middles + offset) * scale / grid) * grid
    # Only now: a point on another one's straight border is on it after rounding too.
    middles, owners = _without_straight(middles, owners)
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    return [np.concatenate([ring, ring[:1]])
            for ring in np.split(middles, starts[1:])]


def _neighbours(owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of the point before and after each, in its ring."""
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    ends = np.append(starts[1:], len(owners)) - 1
    before, after = np.arange(len(owners)) - 1, np.arange(len(owners)) + 1
    before[starts], after[ends] = ends, starts
    return before, after


def _without_straight(points: np.ndarray, owners: np.ndarray
                      ) -> tuple[np.ndarray, np.ndarray]:
    """Drops points on the straight line between their neighbours."""
    before, after = _neighbours(owners)
    come, go = points - points[before], points[after] - points
    bends = come[:, 0] * go[:, 1] != come[:, 1] * go[:, 0]
    return points[bends], owners[bends]
