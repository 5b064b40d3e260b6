# Copyright (c) CellVTA-MMSeg contributors.
"""From nuclei to cells that do not overlap (numpy, OpenCV).

A pixel belongs to the nearest nucleus, pixel centre to pixel centre, if that is not
too far away. Among equally near pixels of nuclei the leftmost counts, and the upper one
of a column: a rule of places, not of ids, so that neighbouring parts of a slide agree.
"""
import cv2
import numpy as np
from scipy import ndimage

COLUMN_BITS = 9  # of a squared distance in front of a column's number
MAX_REACH = 2**(COLUMN_BITS - 1) - 1  # px
FAR = 1 << 30
ROWS = 32  # worked on at once: they stay in the processor's cache


def expand_nuclei(seeds: np.ndarray, distance: float) -> np.ndarray:
    """Gives the pixels around nuclei to the nearest one.

    Args:
        seeds: (H, W) int32, 0 background, other ids are nuclei.
        distance: Px up to which, itself included, a nucleus reaches.

    Returns:
        (H, W) int32 ids of cells, those of their nuclei; 0 where none is near.

    Raises:
        ValueError: When the distance is longer than `MAX_REACH`.
    """
    if not distance <= MAX_REACH:
        raise ValueError(f'cells of {distance:g} px around nuclei: expected at most '
                         f'{MAX_REACH} px')
    reach = int(distance)
    labels, keys = _nearest_of_column(seeds, reach)
    width = seeds.shape[1]
    columns = np.arange(width)
    cells = np.empty_like(seeds)
    for top in range(0, len(seeds), ROWS):
        rows = slice(top, top + ROWS)
        best = _nearest_of_row(keys[rows], reach)
        nearest = columns + (best & (2**COLUMN_BITS - 1)) - reach
        nearest = np.clip(nearest, 0, width - 1)  # where there is none
        found = np.take_along_axis(labels[rows], nearest, axis=1)
        cells[rows] = np.where(best >> COLUMN_BITS <= distance**2, found, 0)
    return _part_crossings(cells)


def _nearest_of_column(seeds: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the nearest label of each pixel's column, and its squared distance."""
    rows = np.arange(len(seeds), dtype=np.int32)[:, None]
    above = np.maximum.accumulate(np.where(seeds != 0, rows, -FAR), axis=0)
    below = np.minimum.accumulate(
        np.where(seeds != 0, rows, FAR)[::-1], axis=0)[::-1]
    nearest = np.where(rows - above <= below - rows, above, below)
    gaps = np.abs(nearest - rows)
    near = gaps <= reach
    keys = np.where(near, gaps * gaps << COLUMN_BITS, FAR)
    labels = np.take_along_axis(seeds, np.where(near, nearest, rows), axis=0)
    return labels, keys


def _nearest_of_row(keys: np.ndarray, reach: int) -> np.ndarray:
    """Returns squared distance and, behind it, columns to the nearest plus `reach`."""
    width = keys.shape[1]
    best = keys + reach
    for shift in range(-min(reach, width - 1), min(reach, width - 1) + 1):
        if shift:
            target = slice(max(-shift, 0), width - max(shift, 0))
            source = slice(max(shift, 0), width - max(-shift, 0))
            other = keys[:, source] + ((shift * shift << COLUMN_BITS) + shift + reach)
            np.minimum(best[:, target], other, out=best[:, target])
    return best


def _part_crossings(cells: np.ndarray) -> np.ndarray:
    """Takes a pixel away where two cells would cross each other at a pixel's corner."""
    first, second = cells[:-1, :-1], cells[:-1, 1:]
    crossing = (first == cells[1:, 1:]) & (second == cells[1:, :-1]) & (
        first != second) & (first != 0) & (second != 0)
    second[crossing] = 0
    return cells


def trace_cells(inst_map: np.ndarray, cell_map: np.ndarray) -> tuple[
        list[np.ndarray], list[np.ndarray]]:
    """Follows the borders of nuclei and their cells.

    A cell is one part, and a nucleus within it: smaller parts are taken out of
    `cell_map`. A cell around another one is slit open there, because an outline has no
    holes.

    Args:
        inst_map: (H, W) int32, 0 background, ids 1..N without gaps.
        cell_map: (H, W) int32, their cells under the same ids, cells of others under
            negative ones; see `expand_nuclei`. Is changed.

    Returns:
        Borders of N nuclei and of their N cells: (K, 2) int32 x, y px, each pixel of
        the outer border in turn, counter-clockwise on a screen.
    """
    nuclei, cells = [], []
    boxes = ndimage.find_objects(np.maximum(cell_map, 0))
    for cell_id, (rows, cols) in enumerate(boxes, start=1):
        part = cell_map[rows, cols]
        mask = (part == cell_id).view(np.uint8)
        nucleus = mask * (inst_map[rows, cols] == cell_id)
        corner = cols.start, rows.start
        found = _borders(mask, corner), _borders(nucleus, corner)
        if len(found[0]) > 1 or len(found[1]) > 1 or _has_holes(mask, found[0][0]):
            mask, nucleus = _one_part_each(mask, nucleus, (part != 0) & (mask == 0))
            part[(part == cell_id) & (mask == 0)] = 0
            found = _borders(mask, corner), _borders(nucleus, corner)
        cells.append(found[0][0])
        nuclei.append(found[1][0])
    return nuclei, cells


def _borders(mask: np.ndarray, corner: tuple[int, int]) -> list[np.ndarray]:
    contours, _ = cv2.findContours(
        mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=corner)
    return [contour.reshape(-1, 2) for contour in contours]


def _has_holes(mask: np.ndarray, border: np.ndarray) -> bool:
    """Compares the pixels with those that Pick's theorem counts within the border."""
    inside = cv2.contourArea(border) + len(border) / 2 + 1 if len(border) > 1 else 1
    return np.count_nonzero(mask) != inside


def _one_part_each(mask: np.ndarray, nucleus: np.ndarray, foreign: np.ndarray
                   ) -> tuple[np.ndarray, np.ndarray]:
    """Returns a cell (h, w) uint8 as one part that is not around others; its nucleus.

    Args:
        mask: (h, w) uint8, 1 in the cell.
        nucleus: (h, w) uint8, 1 in its nucleus.
        foreign: (h, w) bool, where other cells are.
    """
    mask = mask.copy()
    while True:
        filled = np.zeros_like(mask)
        borders = _borders(mask, (0, 0))
        cv2.drawContours(filled, borders, -1, 1, cv2.FILLED)
        enclosed = np.argwhere(foreign & (filled > 0))
        if not len(enclosed):
            break
        row, col = enclosed[0]
        mask[row, :col] = 0
    _, parts = cv2.connectedComponents(nucleus & mask, connectivity=8)
    nucleus = (parts == 1 + np.bincount(parts.ravel())[1:].argmax()).view(np.uint8)
    _, parts = cv2.connectedComponents(mask, connectivity=8)
    mask = (parts == parts[nucleus > 0][0]).view(np.uint8)
    return mask, nucleus
