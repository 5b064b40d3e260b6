# Copyright (c) CellVTA-MMSeg contributors.
"""Scores of a classification of nuclei that are already paired with the truth."""

from __future__ import annotations

import numpy as np


def class_f1(
    true_classes: np.ndarray, pred_classes: np.ndarray, num_classes: int
) -> np.ndarray:
    """F1 of each class, 0-1.

    Args:
        true_classes: (N,) class ids 1..C-1.
        pred_classes: (N,) class ids 1..C-1 of the same nuclei.
        num_classes: C, with background.

    Returns:
        (C-1,) float64 of the classes 1..C-1; NaN for one that occurs on neither side.
    """
    true, pred, right = (
        np.bincount(classes, minlength=num_classes)[1:] for classes in (
            true_classes, pred_classes, true_classes[true_classes == pred_classes]))
    with np.errstate(invalid='ignore'):
        return 2 * right / (true + pred)
