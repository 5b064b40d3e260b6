# Copyright (c) CellVTA-MMSeg contributors.
"""Join the parts of a nucleus that was split for nothing (plain numpy, SciPy)."""
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# By how much HV falls across a border. Between two whole nuclei it falls from 1 to -1;
# within one it rises, however little its network is sure of.
MIN_FALL = 0.05


def merge_fragments(inst_map: np.ndarray, hv_map: np.ndarray, reach: int) -> np.ndarray:
    """Join neighbours between which the HV maps do not fall.

    A dent in an HV map is enough for the watershed to split a nucleus, but then the
    maps go on rising from part to part. All pixels of a border are asked: the
    horizontal map where the parts lie side by side, the vertical one where they lie
    above each other.

    Args:
        inst_map (np.ndarray): (H, W) int32, 0 background, ids 1..N without gaps.
        hv_map (np.ndarray): (2, H, W) float, raw network output, x (horizontal) first.
        reach (int): How far from the border the maps are read on either side, in px.

    Returns:
        np.ndarray: (H, W) int32, ids without gaps, 0 background.
    """
    across = _compare_sides(inst_map, hv_map[0], reach)
    down = _compare_sides(inst_map.T, hv_map[1].T, reach)
    first, second, falls = map(np.concatenate, zip(across, down, strict=True))
    if not len(falls):
        return inst_map
    size = int(inst_map.max()) + 1
    borders, index = np.unique(first.astype(np.int64) * size + second,
                               return_inverse=True)
    merge = np.bincount(index, falls) < MIN_FALL * np.bincount(index)
    parts = borders[merge] // size, borders[merge] % size
    graph = coo_array((np.ones(merge.sum(), bool), parts), shape=(size, size))
    # Groups are numbered in the order of their first id, so background stays 0.
    return connected_components(graph, directed=False)[1].astype(np.int32)[inst_map]


def _compare_sides(inst_map: np.ndarray, values: np.ndarray,
                   reach: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Look across every vertical border between two instances, pixel by pixel.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: Smaller id, larger id, and by how
        much `values` falls from left to right, one entry per pixel of all borders.
    """
    left, right = inst_map[:, :-1], inst_map[:, 1:]
    rows, cols = np.nonzero((left != right) & (left > 0) & (right > 0))
    ids = inst_map[rows, cols], inst_map[rows, cols + 1]
    far = np.maximum(cols - reach, 0), np.minimum(cols + 1 + reach, left.shape[1])
    # A part narrower than the reach is read at the border itself.
    before, after = (
        values[rows, np.where(inst_map[rows, outer] == own, outer, inner)]
        for outer, own, inner in zip(far, ids, (cols, cols + 1), strict=True))
    return np.minimum(*ids), np.maximum(*ids), before - after
