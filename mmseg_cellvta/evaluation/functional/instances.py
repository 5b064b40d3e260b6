# Copyright (c) CellVTA-MMSeg contributors.
"""Class and position of the instances of a label map."""

from __future__ import annotations

import numpy as np

from .overlaps import contingency


def instance_classes(
    inst_map: np.ndarray, class_map: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give each instance the class that most of its pixels have.

    Args:
        inst_map: (H, W) integer instance ids, 0 background.
        class_map: (H, W) integer class ids.

    Returns:
        (N,) class ids in ascending order of the instance ids, ties to the smallest
        class; and the ids of the instances that hold more than one class.
    """
    ids, classes, pixels = contingency(inst_map, class_map)
    keep = ids > 0
    ids, classes, pixels = ids[keep], classes[keep], pixels[keep]
    order = np.lexsort((classes, -pixels, ids))
    distinct, first, counts = np.unique(
        ids[order], return_index=True, return_counts=True)
    return classes[order[first]], distinct[counts > 1]


def instance_centroids(inst_map: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mean pixel position of instances.

    Args:
        inst_map: (H, W) integer instance ids, 0 background.
        ids: (N,) the ids in ``inst_map``, ascending.

    Returns:
        (N, 2) float64, x and y in px; the centre of the first pixel is (0, 0).
    """
    flat = inst_map.ravel()
    pixels = np.flatnonzero(flat)
    index = np.searchsorted(ids, flat[pixels])
    rows, cols = np.divmod(pixels, inst_map.shape[1])
    areas = np.bincount(index, minlength=len(ids))
    sums = [np.bincount(index, weights=axis, minlength=len(ids))
            for axis in (cols, rows)]
    return np.stack(sums, axis=1) / areas[:, None]
