# Copyright (c) CellVTA-MMSeg contributors.
"""Nuclei as points: detection and classification F1 (HoVer-Net, MedIA 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist


@dataclass(frozen=True)
class DetectionScore:
    """Counts of nuclei, or arrays of counts (per class, per image).

    Attributes:
        tp: paired nuclei, for a class: pairs where both have the class.
        fp: predicted nuclei (of the class) without partner.
        fn: true nuclei (of the class) without partner.
        confused_fp: pairs where only the prediction has the class.
        confused_fn: pairs where only the truth has the class.
    """

    tp: int | np.ndarray
    fp: int | np.ndarray
    fn: int | np.ndarray
    confused_fp: int | np.ndarray = 0
    confused_fn: int | np.ndarray = 0

    # A wrong class weighs 2, a wrong detection 1 (HoVer-Net, equation 10). Scores are
    # NaN where nothing was there to be counted.

    @property
    def precision(self) -> float | np.ndarray:
        """Precision, 0-1."""
        return _ratio(self.tp, self.tp + 2 * self.confused_fp + self.fp)

    @property
    def recall(self) -> float | np.ndarray:
        """Recall, 0-1."""
        return _ratio(self.tp, self.tp + 2 * self.confused_fn + self.fn)

    @property
    def f1(self) -> float | np.ndarray:
        """F1, 0-1."""
        errors = 2 * (self.confused_fp + self.confused_fn) + self.fp + self.fn
        return _ratio(2 * self.tp, 2 * self.tp + errors)


def _ratio(part, whole):
    with np.errstate(invalid='ignore'):
        return np.true_divide(part, whole)


def match_centroids(
    true_xy: np.ndarray, pred_xy: np.ndarray, radius_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pair true and predicted nuclei by position.

    As in the published code, the assignment minimises the distance over ALL nuclei
    of the image, and pairs farther apart than the radius are dropped afterwards: it
    does not look for the most pairs within the radius. It must hence see the full
    distance matrix; on one core this takes 0.1 s for 1,000 nuclei, 0.5 s for 2,000
    and 4 s (200 MB) for 5,000 in an image.

    Args:
        true_xy: (T, 2) x, y in px.
        pred_xy: (P, 2) x, y in px.
        radius_px: largest distance of a pair, px.

    Returns:
        Positions in ``true_xy`` and in ``pred_xy``, one entry per pair.
    """
    distances = cdist(true_xy, pred_xy)
    true_index, pred_index = linear_sum_assignment(distances)
    near = distances[true_index, pred_index] <= radius_px
    return true_index[near], pred_index[near]


def score_detection(
    matches: tuple[np.ndarray, np.ndarray],
    true_classes: np.ndarray,
    pred_classes: np.ndarray,
    num_classes: int,
) -> tuple[DetectionScore, DetectionScore]:
    """Count detected nuclei, without and with regard to their class.

    Args:
        matches: what :func:`match_centroids` returns.
        true_classes: (T,) class ids.
        pred_classes: (P,) class ids.
        num_classes: C, with background.

    Returns:
        The score of detection alone, and the scores of the classes 1..C-1 as arrays
        (C-1,).
    """

    def per_class(classes):
        return np.bincount(classes, minlength=num_classes)[1:]

    true_of_pair = true_classes[matches[0]]
    pred_of_pair = pred_classes[matches[1]]
    same = true_of_pair == pred_of_pair
    by_class = DetectionScore(
        tp=per_class(true_of_pair[same]),
        fp=per_class(np.delete(pred_classes, matches[1])),
        fn=per_class(np.delete(true_classes, matches[0])),
        confused_fp=per_class(pred_of_pair[~same]),
        confused_fn=per_class(true_of_pair[~same]))
    tp = len(same)
    overall = DetectionScore(
        tp=tp, fp=len(pred_classes) - tp, fn=len(true_classes) - tp)
    return overall, by_class
