# Copyright (c) CellVTA-MMSeg contributors.
"""Instances of two label maps that overlap, their pixels, classes and positions."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_ID = 2**31 - 1


def contingency(
    first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts the pixels of every pair of ids that occurs in two label maps.

    Neighbouring pixels mostly hold the same pair. The maps are therefore cut into
    runs of equal pairs, and only the runs (a few percent of the pixels) are sorted:
    on 1024 x 1024 px with 1,000 nuclei about three times as fast as
    `skimage.metrics.contingency_table`.

    Args:
        first: Integer ids, any shape, 0 background; ids need not be contiguous.
        second: Integer ids, same shape.

    Returns:
        Ids in `first`, ids in `second` and the number of pixels that hold both, one
        int64 entry per distinct pair, sorted by pair. Pairs with background are
        included.

    Raises:
        ValueError: When shapes differ, or ids are not integers in 0..2**31-1.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape:
        raise ValueError(f'label maps of shape {first.shape} and {second.shape} '
                         'cannot be compared: both must show the same pixels')
    if first.size == 0:
        return (np.zeros(0, np.int64),) * 3
    for ids in (first, second):
        _check_ids(ids)
    base = int(second.max()) + 1
    keys = first.ravel().astype(np.int64)
    keys *= base
    keys += second.ravel().astype(np.int64, copy=False)
    changes = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    starts = np.concatenate(([0], changes))
    lengths = np.diff(starts, append=keys.size)
    pairs, run_to_pair = np.unique(keys[starts], return_inverse=True)
    pixels = np.bincount(run_to_pair, weights=lengths).astype(np.int64)
    return pairs // base, pairs % base, pixels


def _check_ids(ids: np.ndarray) -> None:
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f'label map of dtype {ids.dtype}: ids must be integers, '
                         "for example label_map.astype('int32')")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > MAX_ID:
        raise ValueError(f'label map holds ids {low}..{high}: expected 0 '
                         f'(background) to {MAX_ID}')


@dataclass(frozen=True)
class Overlaps:
    """Instances of a true and a predicted map, and the pairs that share pixels.

    Attributes:
        true_ids: Ids of the true instances, (T,), ascending.
        pred_ids: Ids of the predicted instances, (P,), ascending.
        true_areas: Areas of the true instances, (T,), px.
        pred_areas: Areas of the predicted instances, (P,), px.
        true_index: Position in `true_ids` of each overlapping pair, (K,).
        pred_index: Position in `pred_ids` of each overlapping pair, (K,).
        intersection: Shared area of each overlapping pair, (K,), px, at least 1.
    """

    true_ids: np.ndarray
    pred_ids: np.ndarray
    true_areas: np.ndarray
    pred_areas: np.ndarray
    true_index: np.ndarray
    pred_index: np.ndarray
    intersection: np.ndarray

    @classmethod
    def from_maps(cls, true: np.ndarray, pred: np.ndarray) -> Overlaps:
        """Compares two instance maps; see `contingency` for what they must be."""
        true_id, pred_id, pixels = contingency(true, pred)
        true_ids, true_areas = _areas(true_id, pixels)
        pred_ids, pred_areas = _areas(pred_id, pixels)
        both = (true_id > 0) & (pred_id > 0)
        return cls(
            true_ids, pred_ids, true_areas, pred_areas,
            true_index=np.searchsorted(true_ids, true_id[both]),
            pred_index=np.searchsorted(pred_ids, pred_id[both]),
            intersection=pixels[both])

    @property
    def union(self) -> np.ndarray:
        """Joint area of each overlapping pair, (K,), px."""
        return (self.true_areas[self.true_index] + self.pred_areas[self.pred_index]
                - self.intersection)

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each overlapping pair, (K,), in (0, 1]."""
        return self.intersection / self.union


def _areas(ids: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    instance = ids > 0
    distinct, index = np.unique(ids[instance], return_inverse=True)
    areas = np.bincount(index, weights=pixels[instance], minlength=len(distinct))
    return distinct, areas.astype(np.int64)


def instance_classes(
    inst_map: np.ndarray, class_map: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gives each instance the class that most of its pixels have.

    Args:
        inst_map: Instance ids, integer (H, W), 0 background.
        class_map: Class ids, integer (H, W).

    Returns:
        Class ids, (N,), in ascending order of the instance ids, ties to the smallest
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
    """Computes the mean pixel position of instances.

    About 1.7 times as fast as `scipy.ndimage.center_of_mass` on 1024 x 1024 px with
    1,000 nuclei.

    Args:
        inst_map: Instance ids, integer (H, W), 0 background.
        ids: The ids in `inst_map`, (N,), ascending.

    Returns:
        Centroids (x, y), float64 (N, 2), px; the centre of the first pixel is (0, 0).
    """
    flat = inst_map.ravel()
    pixels = np.flatnonzero(flat)
    index = np.searchsorted(ids, flat[pixels])
    rows, cols = np.divmod(pixels, inst_map.shape[1])
    areas = np.bincount(index, minlength=len(ids))
    sums = [np.bincount(index, weights=axis, minlength=len(ids))
            for axis in (cols, rows)]
    return np.stack(sums, axis=1) / areas[:, None]
