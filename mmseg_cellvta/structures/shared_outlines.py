# Copyright (c) CellVTA-MMSeg contributors.
"""Outlines of parts of a label map that share their borders and never overlap."""
from collections.abc import Sequence

import numpy as np

from .cell_table import GRID_PX, split_rings

# The eight directions as x, y steps, counter-clockwise on a screen; even ones lead to
# pixels that share a side. The last one stays.
STEPS = np.array([(1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1),
                  (0, 0)])
STAYS = 8
DIRECTIONS = np.argsort(STEPS @ (1, 3))  # by x + 3 y of a step, from -4 on


def _sides_of_turns() -> tuple[np.ndarray, np.ndarray]:
    """Returns which sides of a border's pixel bound the part, for all ways past it.

    Returns:
        (81,) how many, by 9 * the direction to it + that from it, and (81, 4, 2) their
        middles in turn, x, y half px from the pixel's corner.
    """
    come, forth = np.mgrid[:9, :9]
    back = (come + 4) % 8
    # Between the two, on the outer side, no neighbour belongs to the part.
    turn = (forth - back - 1) % 8 + 1
    sides = (back + 2 - back % 2)[..., None] + np.arange(0, 8, 2)
    counts = (sides - back[..., None] < turn[..., None]).sum(axis=2)
    counts[STAYS], sides[STAYS] = 4, np.arange(0, 8, 2)  # a single pixel: all
    return counts.ravel(), 1 + STEPS[sides % 8].reshape(81, 4, 2)


COUNTS, MIDDLES = _sides_of_turns()


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
    lengths = np.array([len(border) for border in borders])
    points = np.concatenate(borders)
    forth = np.take(DIRECTIONS, _to_next(points, lengths) @ (1, 3) + 4)
    turns = 9 * _before(forth, lengths) + forth
    counts = np.take(COUNTS, turns)
    rows = np.repeat(np.arange(len(points)), counts)
    first = np.cumsum(counts) - counts
    entries = np.take(4 * turns - first, rows) + np.arange(len(rows))
    lengths = np.add.reduceat(counts, np.cumsum(lengths) - lengths)
    grid = GRID_PX
    while grid > min(scale) / 2:  # distinct points must stay so
        grid /= 2
    middles = np.empty((2, len(rows)))
    for axis, target in enumerate(middles):
        halves = 2 * np.take(points[:, axis], rows)
        halves += np.take(MIDDLES[..., axis], entries)
        # Few numbers, each of which comes many times.
        places = (np.arange(halves.max() + 1) / 2 + offset[axis]) * scale[axis]
        np.take(np.round(places / grid) * grid, halves, out=target)
    # Only now: a point on another one's straight border is on it after rounding too.
    x, y = _to_next(middles.T, lengths).T
    bends = np.flatnonzero(_before(x, lengths) * y != _before(y, lengths) * x)
    ends = np.searchsorted(bends, np.cumsum(lengths))
    starts = np.concatenate([[0], ends[:-1]])
    closed = np.insert(bends, ends, bends[starts])
    return split_rings(np.take(middles, closed, axis=1).T.copy(), ends - starts + 1)


def _to_next(points: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns the step from each point (P, 2) to the next one of its ring."""
    ends = np.cumsum(lengths)
    steps = np.empty_like(points)
    np.subtract(points[1:], points[:-1], out=steps[:-1])
    steps[ends - 1] = points[ends - lengths] - points[ends - 1]
    return steps


def _before(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns for each point the value (P,) of the one before it in its ring."""
    ends = np.cumsum(lengths)
    before = np.empty_like(values)
    before[1:] = values[:-1]
    before[ends - lengths] = values[ends - 1]
    return before
