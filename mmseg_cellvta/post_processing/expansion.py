# Copyright (c) CellVTA-MMSeg contributors.
"""From nuclei to cells that do not overlap (numpy, OpenCV).

A pixel belongs to the nearest nucleus, pixel centre to pixel centre, if that is not
too far away. Among equally near pixels of nuclei the leftmost counts, and the upper one
of a column: a rule of places, not of ids, so that neighbouring parts of a slide agree.
"""
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

MAX_REACH = 254  # px
MAX_UM = 25.0  # as far as QuPath goes
ROWS = 64  # worked on at once: they stay in the processor's cache


def check_expansion(expand_um: float | None, markers: str = 'rising') -> None:
    """Refuses cells that are none, or whose nuclei neighbouring windows may not share.

    Args:
        expand_um: How far cells reach from their nuclei, µm; None for nuclei only.
        markers: Of the post-processor.

    Raises:
        ValueError: Says what is expected.
    """
    if expand_um is None:
        return
    if not 0 < expand_um <= MAX_UM:
        raise ValueError(f'expand_um={expand_um:g}: expected more than 0 and at most '
                         f'{MAX_UM:g} µm; leave it out for nuclei only')
    if markers != 'rising':
        raise ValueError(
            f'expand_um with markers={markers!r} of the post-processor: neighbouring '
            'windows may then disagree about a nucleus, and cells would overlap; take '
            "model.post_processor.markers='rising'")


class KeyForm(NamedTuple):
    """Numbers that order the pixels of nuclei near a pixel: distance, then column.

    A number holds a squared distance in px², and behind it the column, counted from
    `reach` px to the left of the pixel.

    Attributes:
        reach: Px up to which a nucleus reaches; longer distances are all alike.
        bits: Of the column.
        dtype: As small as can be, which is faster.
    """

    reach: int
    bits: int
    dtype: type

    @staticmethod
    def of(reach: int) -> 'KeyForm':
        """Returns the form for distances below `reach` + 1 px."""
        bits = (2 * reach).bit_length()
        largest = ((reach + 1)**2 + reach**2 << bits) + 2 * reach
        return KeyForm(reach, bits, np.uint16 if largest < 1 << 16 else np.uint32)


def expand_nuclei(seeds: np.ndarray, distance: float) -> np.ndarray:
    """Gives the pixels around nuclei to the nearest one.

    Args:
        seeds: (H, W) int32, 0 background. Nuclei have positive ids; those of others,
            which only keep their pixels, negative ones.
        distance: Px up to which, itself included, a nucleus reaches.

    Returns:
        (H, W) int32 ids of cells, those of their nuclei; 0 where none is near. Where
        others reach to is only said near nuclei with positive ids.

    Raises:
        ValueError: When the distance is longer than `MAX_REACH`.
    """
    if not distance <= MAX_REACH:
        raise ValueError(f'cells of {distance:g} px around nuclei: expected at most '
                         f'{MAX_REACH} px')
    cells, mask = seeds.copy(), seeds > 0
    if not mask.any():
        return cells
    reach, most = int(distance), int(distance**2)
    part = cells[_around(mask, 2 * reach)]
    height, width = part.shape
    padded = np.pad(part, reach)
    nuclei, form, step = padded != 0, KeyForm.of(reach), max(ROWS, reach)
    for top in range(0, height, step):
        rows = _nearest_of_column(nuclei[top:top + step + 2 * reach], reach)
        keys = _nearest_of_row(np.abs(rows), form)
        _fill(padded, top + reach, keys, rows, most, form)
    part[:] = padded[reach:reach + height, reach:reach + width]
    _part_crossings(part)
    return cells


def _around(mask: np.ndarray, border: int) -> tuple[slice, slice]:
    """Returns the rows and columns where a mask is, and `border` more on each side."""
    used = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return tuple(slice(max(own[0] - border, 0), own[-1] + border + 1) for own in used)


def _nearest_of_column(nuclei: np.ndarray, reach: int) -> np.ndarray:
    """Finds the nearest pixel of a nucleus in each column.

    Args:
        nuclei: (reach + h + reach, w) bool.
        reach: Rows that are there to be seen from the others.

    Returns:
        (h, w) int16 rows to it, negative where it lies above; any more than `reach`
        where it is farther away.
    """
    above = _rows_to_last(nuclei[:len(nuclei) - reach])[reach:]
    below = _rows_to_last(nuclei[reach:][::-1])[reach:][::-1]
    return np.minimum(above, below) * (2 * (below < above).astype(np.int16) - 1)


def _rows_to_last(nuclei: np.ndarray) -> np.ndarray:
    """Returns the rows (h, w) int16 up to the last True; to before the first row."""
    rows = np.arange(1, len(nuclei) + 1, dtype=np.int16)[:, None]
    last = nuclei * rows
    for before, row in pairwise(last):
        np.maximum(before, row, out=row)
    return rows - last


def _nearest_of_row(gaps: np.ndarray, form: KeyForm) -> np.ndarray:
    """Returns keys of the nearest pixels of nuclei, row behind row.

    Args:
        gaps: (h, w) int16, rows to the nearest one in each column.
        form: Of the keys.

    Returns:
        (h * w - 2 * reach,) of the form's type: the first is that of the pixel in the
        column `reach`. Nearer to the ends of a row than that they mean nothing.
    """
    reach, bits, dtype = form
    squares = np.minimum(gaps, reach + 1).astype(dtype).ravel()
    squares *= squares
    squares <<= bits
    size = squares.size - 2 * reach
    nearest = squares[reach:reach + size] + dtype(reach)
    other = np.empty_like(nearest)
    for column in range(2 * reach + 1):
        # One long row: rows one by one would take twice as long.
        key = ((column - reach)**2 << bits) + column
        np.add(squares[column:column + size], dtype(key), out=other)
        np.minimum(nearest, other, out=nearest)
    return nearest


def _fill(cells: np.ndarray, top: int, keys: np.ndarray, rows: np.ndarray, most: int,
          form: KeyForm) -> None:
    """Gives pixels around nuclei their labels, up to a squared distance of `most`.

    Args:
        cells: (H, w) int32, contiguous; is changed.
        top: The row of it with which the keys begin.
        keys: See `_nearest_of_row`.
        rows: (h, w) int16, to the nearest pixel of a nucleus in each column.
        most: Px².
        form: Of the keys.
    """
    # The distance of nuclei, 0, becomes a very long one.
    found = np.flatnonzero(
        keys - form.dtype(1 << form.bits) < form.dtype(most << form.bits))
    columns = np.take(keys, found) & form.dtype((1 << form.bits) - 1)
    source = found + columns
    source += np.take(rows, source) * np.int64(cells.shape[1])
    labels, begin = cells.reshape(-1), top * cells.shape[1]
    labels[begin + form.reach + found] = np.take(labels, begin + source)


def _part_crossings(cells: np.ndarray) -> None:
    """Takes a pixel away where two cells would cross each other at a pixel's corner."""
    apart = np.flatnonzero(cells[:-1, :-1] != cells[:-1, 1:])
    rows, cols = np.divmod(apart, max(cells.shape[1] - 1, 1))
    first, second = cells[rows, cols], cells[rows, cols + 1]
    crossing = (first == cells[rows + 1, cols + 1]) & (
        second == cells[rows + 1, cols]) & (first != 0) & (second != 0)
    cells[rows[crossing], cols[crossing] + 1] = 0


def trace_nuclei(seeds: np.ndarray, contours: list[np.ndarray], bboxes: np.ndarray,
                 areas: np.ndarray) -> list[np.ndarray]:
    """Follows the borders of nuclei; of one in parts the largest stays in the map.

    Of the other parts nobody would see why there is a cell around them.

    Args:
        seeds: See `expand_nuclei`; is changed.
        contours: Of the N nuclei with positive ids, as `describe_instances` gives them.
        bboxes: (N, 4) the same, x1, y1, x2, y2 px.
        areas: (N,) px of them.

    Returns:
        Borders of these nuclei: (K, 2) int32 x, y px, each pixel of the outer border in
        turn, counter-clockwise on a screen.
    """
    borders = _every_pixel(contours)
    rows = zip(areas.tolist(), borders, _slices(bboxes), strict=True)
    for inst_id, (area, border, box) in enumerate(rows, start=1):
        if area != _count_inside(border):
            _keep_largest(seeds, box, inst_id)
    others, bboxes = _other_boxes(seeds)
    for inst_id, box in zip(others.tolist(), _slices(bboxes), strict=True):
        _keep_largest(seeds, box, inst_id)
    return borders


def _slices(bboxes: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Yields the rows and columns of boxes (N, 4) x1, y1, x2, y2 px."""
    for left, top, right, low in bboxes.tolist():
        yield slice(top, low), slice(left, right)


def _other_boxes(seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the negative ids (N,) of a map, and boxes (N, 4) x1, y1, x2, y2 px.

    They are few: `find_objects`, which looks at every pixel, takes three times as long.
    """
    pixels = np.flatnonzero(seeds < 0)
    ids, rows = np.unique(np.take(seeds, pixels), return_inverse=True)
    places = np.stack(np.divmod(pixels, seeds.shape[1])[::-1], axis=1)
    low = np.full((len(ids), 2), max(seeds.shape))
    high = np.zeros((len(ids), 2), int)
    np.minimum.at(low, rows, places)
    np.maximum.at(high, rows, places + 1)
    return ids, np.concatenate([low, high], axis=1)


def _every_pixel(contours: list[np.ndarray]) -> list[np.ndarray]:
    """Fills in the pixels that contours leave out where they run straight."""
    if not contours:
        return []
    points = np.concatenate(contours)
    lengths = np.array([len(contour) for contour in contours])
    ends = np.cumsum(lengths)
    after = np.arange(1, len(points) + 1)
    after[ends - 1] = ends - lengths
    way = points[after] - points
    counts = np.maximum(np.abs(way).max(axis=1), 1)  # 1: a single pixel
    starts = np.cumsum(counts) - counts
    steps = np.arange(counts.sum()) - np.repeat(starts, counts)
    filled = np.repeat(points, counts, axis=0) + (
        steps[:, None] * np.repeat(np.sign(way), counts, axis=0))
    filled, ends = filled.astype(np.int32), np.cumsum(counts)[ends - 1].tolist()
    return [filled[start:end] for start, end in pairwise([0, *ends])]


def _count_inside(border: np.ndarray) -> float:
    """Returns the pixels on and within a border, by Pick's theorem."""
    return cv2.contourArea(border) + len(border) / 2 + 1 if len(border) > 1 else 1


def _keep_largest(seeds: np.ndarray, box: tuple[slice, slice], inst_id: int) -> None:
    """Erases all parts of a nucleus but the one with the largest area in its border."""
    part = seeds[box]
    mask = (part == inst_id).view(np.uint8)
    borders = _borders(mask, box)
    if len(borders) > 1:
        largest = max(borders, key=cv2.contourArea)
        # What `trace_nuclei` does not see in one window it must not see in another.
        if np.count_nonzero(mask) != _count_inside(largest):
            _, numbers = cv2.connectedComponents(mask, connectivity=8)
            x, y = largest[0] - (box[1].start, box[0].start)
            part[(mask > 0) & (numbers != numbers[y, x])] = 0


def trace_cells(seeds: np.ndarray, cell_map: np.ndarray, nuclei: list[np.ndarray],
                bboxes: np.ndarray, distance: float) -> list[np.ndarray]:
    """Follows the borders of cells, each of which becomes one part.

    A cell around another one is slit open there, because an outline has no holes; its
    nucleus too, where it is in the way.

    Args:
        seeds: (H, W) int32, nuclei, as `trace_nuclei` leaves them.
        cell_map: See `expand_nuclei`; is changed.
        nuclei: Their N borders; are changed.
        bboxes: (N, 4) px of nuclei, x1, y1, x2, y2, maximum exclusive.
        distance: Px up to which cells reach from them.

    Returns:
        Borders of the N cells, as those of `trace_nuclei`.
    """
    cells = []
    # Where cells would have crossed, one has lost a pixel, which may be of its nucleus.
    lost = np.take(seeds, np.flatnonzero(seeds > cell_map))
    cut = set(lost[lost > 0].tolist())
    reach, (height, width) = int(distance), cell_map.shape
    boxes = np.clip(bboxes + np.array([-reach, -reach, reach, reach]), 0,
                    [width, height, width, height])
    for cell_id, box in enumerate(_slices(boxes), start=1):
        part = cell_map[box]
        mask = (part == cell_id).view(np.uint8)
        borders = _borders(mask, box)
        if cell_id in cut or len(borders) > 1 or (
                np.count_nonzero(mask) != _count_inside(borders[0])):
            mask, nucleus = _one_part_each(
                mask, mask * (seeds[box] == cell_id), (part != 0) & (mask == 0))
            part[(part == cell_id) & (mask == 0)] = 0
            borders = _borders(mask, box)
            nuclei[cell_id - 1], = _borders(nucleus, box)
        cells.append(borders[0])
    return cells


def _borders(mask: np.ndarray, box: tuple[slice, slice]) -> list[np.ndarray]:
    """Returns the outer borders (K, 2) x, y px of a mask in a box of the map."""
    contours, _ = cv2.findContours(
        mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE,
        offset=(box[1].start, box[0].start))
    return [contour[:, 0] for contour in contours]


def _one_part_each(mask: np.ndarray, nucleus: np.ndarray, foreign: np.ndarray
                   ) -> tuple[np.ndarray, np.ndarray]:
    """Returns a cell (h, w) uint8 as one part that is not around others; its nucleus.

    Args:
        mask: (h, w) uint8, 1 in the cell.
        nucleus: (h, w) uint8, 1 in its nucleus.
        foreign: (h, w) bool, where other cells are.
    """
    mask, nucleus, foreign = (np.pad(part, 1) for part in (mask, nucleus, foreign))
    while True:
        filled = np.zeros_like(mask)
        borders, _ = cv2.findContours(
            mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(filled, borders, -1, 1, cv2.FILLED)
        enclosed = np.argwhere(foreign & (filled > 0))
        if not len(enclosed):
            break
        _slit(mask, nucleus, tuple(enclosed[0]), filled == 0)
    _, parts = cv2.connectedComponents(nucleus & mask, connectivity=8)
    nucleus = (parts == 1 + np.bincount(parts.ravel())[1:].argmax()).view(np.uint8)
    _, parts = cv2.connectedComponents(mask, connectivity=8)
    mask = (parts == parts[nucleus > 0][0]).view(np.uint8)
    return tuple(np.ascontiguousarray(part[1:-1, 1:-1]) for part in (mask, nucleus))


def _slit(mask: np.ndarray, nucleus: np.ndarray, start: tuple[int, int],
          outside: np.ndarray) -> None:
    """Takes a line out of a mask, through as little of the nucleus as can be."""
    # Only here: few slides need it.
    from skimage.graph import MCP

    costs = np.where(nucleus > 0, 1000.0, np.where(mask > 0, 2.0, 1.0))
    paths = MCP(costs, fully_connected=False)
    totals, _ = paths.find_costs([start])
    end = np.argmin(np.where(outside, totals, np.inf))
    line = paths.traceback(np.unravel_index(end, mask.shape))
    mask[tuple(np.transpose(line))] = 0
