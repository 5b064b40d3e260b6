# Copyright (c) CellVTA-MMSeg contributors.
"""Panoptic quality (Kirillov et al., CVPR 2019, equation 1) of nuclei."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .overlaps import Overlaps

# HoVer-Net, CoNIC and CellViT add this to both denominators, so that a perfect
# result scores 0.999999 and an empty image 0; published figures contain it.
EPSILON = 1e-6


@dataclass(frozen=True)
class PanopticQuality:
    """Counts of one comparison, or arrays of counts (per class, per image).

    Attributes:
        tp: matched pairs of a true and a predicted instance.
        fp: predicted instances without partner.
        fn: true instances without partner.
        iou_sum: sum of the IoU over the matched pairs.
    """

    tp: int | np.ndarray
    fp: int | np.ndarray
    fn: int | np.ndarray
    iou_sum: float | np.ndarray

    @property
    def dq(self) -> float | np.ndarray:
        """Detection quality, 0-1."""
        return self.tp / (self.tp + 0.5 * self.fp + 0.5 * self.fn + EPSILON)

    @property
    def sq(self) -> float | np.ndarray:
        """Segmentation quality: mean IoU of the matched pairs, 0-1."""
        return self.iou_sum / (self.tp + EPSILON)

    @property
    def pq(self) -> float | np.ndarray:
        """Panoptic quality DQ * SQ, 0-1."""
        return self.dq * self.sq


def panoptic_quality(
    true: np.ndarray, pred: np.ndarray, match_iou: float = 0.5
) -> PanopticQuality:
    """Score a predicted against a true instance map, whatever the classes.

    Args:
        true: (H, W) integer instance ids, 0 background, any positive ids.
        pred: (H, W) integer instance ids, same shape.
        match_iou: two instances match if their IoU is greater, 0 <= value < 1. From
            0.5 on a match is unique by itself; below, the matching with the largest
            sum of IoU decides.

    Raises:
        ValueError: shapes differ, ids are no integers, or ``match_iou`` is outside
            [0, 1).
    """
    if not 0 <= match_iou < 1:
        raise ValueError(f'match_iou={match_iou}: expected a fraction in [0, 1)')
    return binary_panoptic_quality(Overlaps.from_maps(true, pred), match_iou)


def binary_panoptic_quality(
    overlaps: Overlaps, match_iou: float = 0.5
) -> PanopticQuality:
    """:func:`panoptic_quality` of maps whose overlaps are already counted."""
    iou = overlaps.iou
    if match_iou < 0.5:
        iou = iou[overlaps.best_matching()]
    iou = iou[iou > match_iou]
    tp = len(iou)
    return PanopticQuality(
        tp=tp, fp=len(overlaps.pred_ids) - tp, fn=len(overlaps.true_ids) - tp,
        iou_sum=float(iou.sum()))


def class_panoptic_quality(
    overlaps: Overlaps,
    true_classes: np.ndarray,
    pred_classes: np.ndarray,
    num_classes: int,
) -> PanopticQuality:
    """Score every class on its own, as if the others were not in the maps.

    An instance has one class, hence the IoU of two instances of a class is the same
    in a map of that class alone: no map per class is needed.

    Args:
        overlaps: the overlapping instances.
        true_classes: (T,) class ids in the order of ``overlaps.true_ids``.
        pred_classes: (P,) class ids in the order of ``overlaps.pred_ids``.
        num_classes: C, with background. Instances of class 0 belong to no class.

    Returns:
        Counts as arrays (C-1,), classes 1..C-1, at IoU > 0.5.
    """
    pair_class = true_classes[overlaps.true_index]
    matched = pair_class == pred_classes[overlaps.pred_index]
    matched &= overlaps.iou > 0.5
    pair_class = pair_class[matched]

    def per_class(classes, weights=None):
        return np.bincount(classes, weights, minlength=num_classes)[1:]

    tp = per_class(pair_class)
    return PanopticQuality(
        tp=tp, fp=per_class(pred_classes) - tp, fn=per_class(true_classes) - tp,
        iou_sum=per_class(pair_class, overlaps.iou[matched]))
