# Copyright (c) CellVTA-MMSeg contributors.
"""Join the parts of a nucleus that was split for nothing (plain numpy, SciPy)."""
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# By how much HV falls across a border. Between two whole nuclei it falls from 1 to -1;
# within one it rises, however little its network is sure of.
MIN_FALL = 0.05
# From which rise of its mean on two neighbours are parts: every whole nucleus spans
# HV's values on both sides of 0. Without this rule a crescent around another nucleus,
# whose HV may rise at their border, would be joined to it.
MIN_RISE = 0.2


def merge_fragments(inst_map: np.ndarray, hv_map: np.ndarray, reach: int) -> np.ndarray:
    """Join neighbours over which the HV maps rise as over one nucleus.

    A dent in an HV map is enough for the watershed to split a nucleus, but then the
    maps go on rising from part to part: they do not fall at the border, and their means
    differ. All pixels of a border are asked: the horizontal map where the parts lie
    side by side, the vertical one where they lie above each other.

    Args:
        inst_map (np.ndarray): (H, W) int32, 0 background, ids 1..N without gaps.
        hv_map (np.ndarray): (2, H, W) float, raw network output, x (horizontal) first.
        reach (int): How far from the border the maps are read on either side, in px.

    Returns:
        np.ndarray: (H, W) int32, ids without gaps, 0 background.
    """
    sides = [_find_sides(inst_map), _find_sides(inst_map.T)]
    if not any(len(rows) for rows, _ in sides):
        return inst_map
    means = _mean_of_each(inst_map, hv_map)
    size = len(means[0])
    keys, falls, rises = [], [], []
    for axis, (rows, cols) in enumerate(sides):
        ids, values = (inst_map, hv_map[0]) if axis == 0 else (inst_map.T, hv_map[1].T)
        before, after = ids[rows, cols], ids[rows, cols + 1]
        keys.append(np.minimum(before, after).astype(np.int64) * size
                    + np.maximum(before, after))
        falls.append(_fall_across(ids, values, rows, cols, reach))
        rises.append(means[axis][after] - means[axis][before])
    borders, index = np.unique(np.concatenate(keys), return_inverse=True)
    pixels = np.bincount(index)
    merge = np.bincount(index, np.concatenate(falls)) < MIN_FALL * pixels
    merge &= np.bincount(index, np.concatenate(rises)) >= MIN_RISE * pixels
    parts = borders[merge] // size, borders[merge] % size
    graph = coo_array((np.ones(merge.sum(), bool), parts), shape=(size, size))
    # Groups are numbered in the order of their first id, so background stays 0.
    return connected_components(graph, directed=False)[1].astype(np.int32)[inst_map]


def _find_sides(inst_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of pixels whose right neighbour is of another instance."""
    left, right = inst_map[:, :-1], inst_map[:, 1:]
    return np.nonzero((left != right) & (left > 0) & (right > 0))


def _mean_of_each(inst_map: np.ndarray, hv_map: np.ndarray) -> list[np.ndarray]:
    """Means of both maps over the ids 0..N; that of background is 0."""
    pixels = np.flatnonzero(inst_map)
    ids = inst_map.ravel()[pixels]
    areas = np.maximum(np.bincount(ids), 1)
    return [np.bincount(ids, values.ravel()[pixels]) / areas for values in hv_map]


def _fall_across(inst_map: np.ndarray, values: np.ndarray, rows: np.ndarray,
                 cols: np.ndarray, reach: int) -> np.ndarray:
    """By how much `values` falls from the left of a border to its right."""
    last = inst_map.shape[1] - 1
    # A part narrower than the reach is read at the border itself.
    before, after = (
        values[rows, np.where(inst_map[rows, far] == inst_map[rows, near], far, near)]
        for near, far in (
            (cols, np.maximum(cols - reach, 0)),
            (cols + 1, np.minimum(cols + 1 + reach, last))))
    return before - after
