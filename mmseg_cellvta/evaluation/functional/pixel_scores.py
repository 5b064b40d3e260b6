# Copyright (c) CellVTA-MMSeg contributors.
"""Scores that add up pixels over an image: Dice, DICE2, AJI and AJI+."""

from __future__ import annotations

import numpy as np

from .overlaps import Overlaps


def binary_dice(overlaps: Overlaps) -> float:
    """Dice of nuclei against background, 0-1; NaN without any true instance."""
    if not len(overlaps.true_ids):
        return float('nan')
    total = overlaps.true_areas.sum() + overlaps.pred_areas.sum()
    return float(2 * overlaps.intersection.sum() / total)


def ensemble_dice(overlaps: Overlaps) -> float:
    """DICE2 (Vu et al., Front. Bioeng. Biotechnol. 2019), 0-1.

    Pixels are summed over every overlapping pair, so an instance that overlaps two
    others counts twice. 0 without overlap; NaN without any true instance.
    """
    if not len(overlaps.true_ids):
        return float('nan')
    areas = overlaps.union + overlaps.intersection
    return float(2 * overlaps.intersection.sum() / max(areas.sum(), 1))


def aggregated_jaccard(overlaps: Overlaps) -> float:
    """AJI (Kumar et al., IEEE TMI 2017, algorithm 1), 0-1.

    Every true instance takes the prediction of largest IoU, which several may share;
    instances that are left on either side join the denominator. NaN without any
    true instance.
    """
    order = np.lexsort((overlaps.pred_index, -overlaps.iou, overlaps.true_index))
    _, first = np.unique(overlaps.true_index[order], return_index=True)
    return _jaccard_of(overlaps, order[first])


def aggregated_jaccard_plus(overlaps: Overlaps) -> float:
    """AJI+ (Graham et al., MedIA 2019): AJI with one-to-one pairs, 0-1."""
    return _jaccard_of(overlaps, overlaps.best_matching())


def _jaccard_of(overlaps: Overlaps, pairs: np.ndarray) -> float:
    """Jaccard index of the pixels of ``pairs`` plus all that belongs to no pair."""
    if not len(overlaps.true_ids):
        return float('nan')
    alone_true = np.ones(len(overlaps.true_ids), bool)
    alone_true[overlaps.true_index[pairs]] = False
    alone_pred = np.ones(len(overlaps.pred_ids), bool)
    alone_pred[overlaps.pred_index[pairs]] = False
    union = (overlaps.union[pairs].sum() + overlaps.true_areas[alone_true].sum()
             + overlaps.pred_areas[alone_pred].sum())
    return float(overlaps.intersection[pairs].sum() / union)
