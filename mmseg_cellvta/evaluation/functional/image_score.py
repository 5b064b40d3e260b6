# Copyright (c) CellVTA-MMSeg contributors.
"""Everything that the data set figures need to know about one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .detection import DetectionScore, match_centroids, score_detection
from .instances import instance_centroids
from .overlaps import Overlaps
from .pixel_scores import aggregated_jaccard, binary_dice
from .scores import PanopticQuality, binary_panoptic_quality, class_panoptic_quality


@dataclass(frozen=True)
class ImageScore:
    """Scores of one image: a few hundred bytes, picklable.

    Attributes:
        binary: panoptic quality whatever the class.
        per_class: panoptic quality of the classes 1..C-1, arrays (C-1,).
        detection: detection whatever the class.
        class_detection: detection of the classes 1..C-1, arrays (C-1,).
        aji: aggregated Jaccard index, 0-1; NaN without true nuclei.
        dice: Dice of nuclei against background, 0-1; NaN without true nuclei.
        tissue: name of the tissue, None where unknown.
    """

    binary: PanopticQuality
    per_class: PanopticQuality
    detection: DetectionScore
    class_detection: DetectionScore
    aji: float
    dice: float
    tissue: str | None = None


def score_image(
    true: np.ndarray,
    pred: np.ndarray,
    true_classes: np.ndarray,
    pred_classes: np.ndarray,
    num_classes: int,
    radius_px: float,
    tissue: str | None = None,
) -> ImageScore:
    """Compare the predicted with the true nuclei of an image.

    Args:
        true: (H, W) integer instance ids, 0 background, any positive ids.
        pred: (H, W) integer instance ids, same shape.
        true_classes: (T,) class ids 0..C-1 in ascending order of the ids in ``true``.
            A nucleus of class 0 counts for the figures without class only.
        pred_classes: (P,) class ids in ascending order of the ids in ``pred``.
        num_classes: C, with background.
        radius_px: largest distance of the centroids of a detected nucleus, px.
        tissue: name of the tissue.

    Raises:
        ValueError: shapes differ, ids are no integers, a class is outside 0..C-1, or
            the number of classes is not that of the instances.
    """
    overlaps = Overlaps.from_maps(true, pred)
    true_classes = _check_classes(
        'true', true_classes, len(overlaps.true_ids), num_classes)
    pred_classes = _check_classes(
        'predicted', pred_classes, len(overlaps.pred_ids), num_classes)
    matches = match_centroids(
        instance_centroids(true, overlaps.true_ids),
        instance_centroids(pred, overlaps.pred_ids), radius_px)
    detection, class_detection = score_detection(
        matches, true_classes, pred_classes, num_classes)
    return ImageScore(
        binary=binary_panoptic_quality(overlaps),
        per_class=class_panoptic_quality(
            overlaps, true_classes, pred_classes, num_classes),
        detection=detection,
        class_detection=class_detection,
        aji=aggregated_jaccard(overlaps),
        dice=binary_dice(overlaps),
        tissue=tissue)


def _check_classes(
    side: str, classes: np.ndarray, num_instances: int, num_classes: int
) -> np.ndarray:
    classes = np.asarray(classes, dtype=np.int64)
    if classes.shape != (num_instances,):
        raise ValueError(f'{side} classes of shape {classes.shape}: the {side} map '
                         f'holds {num_instances} instances, expected one class each')
    wrong = classes[(classes < 0) | (classes >= num_classes)]
    if len(wrong):
        raise ValueError(f'{side} class id {wrong[0]}: expected 0..{num_classes - 1} '
                         f'({num_classes} classes with background)')
    return classes
