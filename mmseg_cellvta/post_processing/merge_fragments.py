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
    width = inst_map.shape[1]
    pixels = np.flatnonzero(inst_map > 0)
    ids = inst_map.ravel()[pixels]
    sides = [_find_sides(inst_map, pixels, ids, step) for step in (1, width)]
    if not any(len(before) for before, _ in sides):
        return inst_map
    size = int(ids.max()) + 1
    areas = np.maximum(np.bincount(ids), 1)  # background has no pixels here
    keys, falls, rises = [], [], []
    for side, step, values in zip(sides, (1, width), hv_map, strict=True):
        means = np.bincount(ids, values.ravel()[pixels]) / areas
        before, after = (inst_map.ravel()[each] for each in side)
        keys.append(np.minimum(before, after).astype(np.int64) * size
                    + np.maximum(before, after))
        falls.append(_fall_across(inst_map, values, side, step, reach))
        rises.append(means[after] - means[before])
    borders, index = np.unique(np.concatenate(keys), return_inverse=True)
    lengths = np.bincount(index)
    merge = np.bincount(index, np.concatenate(falls)) < MIN_FALL * lengths
    merge &= np.bincount(index, np.concatenate(rises)) >= MIN_RISE * lengths
    parts = borders[merge] // size, borders[merge] % size
    graph = coo_array((np.ones(merge.sum(), bool), parts), shape=(size, size))
    # Groups are numbered in the order of their first id, so background stays 0.
    groups = connected_components(graph, directed=False)[1].astype(np.int32)
    return np.take(groups, inst_map)


def _find_sides(inst_map: np.ndarray, pixels: np.ndarray, ids: np.ndarray,
                step: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions of all pairs of pixels, `step` apart, of two instances."""
    beyond = inst_map.ravel().take(pixels + step, mode='clip')
    before = pixels[(beyond != ids) & (beyond > 0)]
    # The last pixel of a row is not beside the first of the next one.
    inside = (before + step < inst_map.size) & (
        (step > 1) | ((before + 1) % inst_map.shape[1] > 0))
    before = before[inside]
    return before, before + step


def _fall_across(inst_map: np.ndarray, values: np.ndarray,
                 side: tuple[np.ndarray, np.ndarray], step: int,
                 reach: int) -> np.ndarray:
    """By how much `values` falls over pairs of pixels, read `reach` px away."""
    read = []
    for near, direction in zip(side, (-step, step), strict=True):
        far = np.clip(near + direction * reach, 0, inst_map.size - 1)
        # A part narrower than the reach, or at the rim of the map, is read at the
        # border itself.
        same = inst_map.ravel()[far] == inst_map.ravel()[near]
        read.append(values.ravel()[np.where(same, far, near)])
    return read[0] - read[1]
