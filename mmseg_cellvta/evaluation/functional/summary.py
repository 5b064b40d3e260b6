# Copyright (c) CellVTA-MMSeg contributors.
"""Figures of a data set from the scores of its images."""
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .scores import ImageScore

# What stands in the place of a class in figures of all nuclei: F1_det, PQ_conic.
NOT_CLASSES = ('det', 'conic')


def check_figure_names(class_names: Sequence[str]) -> None:
    """Checks that no figure of a class has the name of another figure.

    Args:
        class_names: The C-1 classes without background.

    Raises:
        ValueError: When a name is there twice, or figures of all nuclei have it.
    """
    for name in class_names:
        if name in NOT_CLASSES:
            raise ValueError(
                f'class {name!r}: F1_{name} and PQ_{name} could not be told from the '
                'figures of all nuclei; give the class another name')
        if list(class_names).count(name) > 1:
            raise ValueError(f'class {name!r} is there twice, but F1_{name} and '
                             f'PQ_{name} are of one class; rename one of them')


def summarize(
    scores: Sequence[ImageScore], class_names: Sequence[str]
) -> dict[str, float]:
    """Averages the scores of images.

    A figure is NaN when the data set holds nothing to average for it:

    - `bPQ`, `bDQ`, `bSQ`, `AJI`, `Dice`: mean over images with true nuclei.
    - `mPQ`, `mDQ`, `mSQ`: mean over those images of the mean over the classes in the
      ground truth of the image (CellVTA, CellViT's image mean).
    - `PQ_<class>`: mean over the images whose ground truth holds the class.
    - `bPQ_tissue`, `mPQ_tissue`: mean over tissues of the mean over their images
      (PanNuke, CellViT's paper); images without tissue do not count, and it is left
      out if no image has one.
    - `mPQ_plus`: counts pooled over the data set per class, mean over classes that
      occur in ground truth or prediction (CoNIC).
    - `PQ_conic`: mean over all images, 0 where the ground truth is empty (CoNIC).
    - `F1_det`, `precision_det`, `recall_det`, `F1_<class>`: counts pooled over the
      data set (HoVer-Net). An image without nuclei adds nothing; the released CellViT
      code puts a dummy nucleus at (0, 0) there.

    Args:
        scores: One entry per image, in any order.
        class_names: The C-1 classes without background.

    Returns:
        Figures by name, fractions 0-1, as Python floats.

    Raises:
        ValueError: When there is no image, or a class name is wrong (see
            `check_figure_names`).
    """
    if not scores:
        raise ValueError('no image was scored: the data set is empty')
    check_figure_names(class_names)
    binary = _stack([score.binary for score in scores])
    classes = _stack([score.per_class for score in scores])
    has_nuclei = binary.tp + binary.fn > 0
    has_class = classes.tp + classes.fn > 0

    metrics = {}
    for name in ('pq', 'dq', 'sq'):
        by_image = _nan_unless(has_nuclei, getattr(binary, name))
        by_class = _nan_unless(has_class, getattr(classes, name))
        metrics[f'm{name.upper()}'] = _mean(_row_means(by_class))
        metrics[f'b{name.upper()}'] = _mean(by_image)
    class_pq = _nan_unless(has_class, classes.pq)
    for name, means in _tissue_means(scores).items():
        metrics[f'{name}_tissue'] = _mean(np.array(list(means.values())))
    pooled = _pool(classes)
    occurs = pooled.tp + pooled.fp + pooled.fn > 0
    metrics['mPQ_plus'] = _mean(_nan_unless(occurs, pooled.pq))
    metrics['PQ_conic'] = float(binary.pq.mean())
    metrics['AJI'] = _mean(np.array([score.aji for score in scores]))
    metrics['Dice'] = _mean(np.array([score.dice for score in scores]))
    metrics.update(_detection_figures(scores, class_names))
    for index, name in enumerate(class_names):
        metrics[f'PQ_{name}'] = _mean(class_pq[:, index])
    return metrics


def summarize_tissues(scores: Sequence[ImageScore]) -> dict[str, float]:
    """Averages the scores of the images of each tissue on its own.

    Kept apart from `summarize`: PanNuke has 19 tissues, whose lines would bury the
    figures in a training log.

    Args:
        scores: One entry per image, in any order.

    Returns:
        `mPQ_tissue_<name>` and `bPQ_tissue_<name>` of each tissue, fractions 0-1: mean
        over its images as in `mPQ` and `bPQ`. Empty for fewer than two tissues.
    """
    return {
        f'{name}_tissue_{tissue}': value
        for name, means in _tissue_means(scores).items() if len(means) > 1
        for tissue, value in means.items()
    }


def _tissue_means(scores) -> dict[str, dict[str, float]]:
    """Computes `mPQ` and `bPQ` of each tissue; empty without tissues."""
    tissues = np.array([score.tissue or '' for score in scores])
    known = sorted({score.tissue for score in scores if score.tissue})
    if not known:
        return {}
    binary = _stack([score.binary for score in scores])
    classes = _stack([score.per_class for score in scores])
    by_class = _nan_unless(classes.tp + classes.fn > 0, classes.pq)
    by_image = dict(
        mPQ=_row_means(by_class), bPQ=_nan_unless(binary.tp + binary.fn > 0, binary.pq))
    return {name: {tissue: _mean(values[tissues == tissue]) for tissue in known}
            for name, values in by_image.items()}


def _detection_figures(scores, class_names) -> dict[str, float]:
    detection = _pool(_stack([score.detection for score in scores]))
    by_class = _pool(_stack([score.class_detection for score in scores]))
    figures = dict(
        F1_det=float(detection.f1),
        precision_det=float(detection.precision),
        recall_det=float(detection.recall))
    for name, f1 in zip(class_names, by_class.f1, strict=True):
        figures[f'F1_{name}'] = float(f1)
    return figures


def _stack(parts):
    """Joins the counts of many images; the arrays get a leading image axis."""
    kind = type(parts[0])
    return kind(*(np.array([getattr(part, field.name) for part in parts])
                  for field in dataclasses.fields(kind)))


def _pool(stacked):
    """Sums over the leading image axis."""
    kind = type(stacked)
    return kind(*(getattr(stacked, field.name).sum(axis=0)
                  for field in dataclasses.fields(kind)))


def _nan_unless(valid: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(valid, values, np.nan)


def _mean(values: np.ndarray) -> float:
    """Averages what is not NaN, without numpy's warning where all is NaN."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float('nan')


def _row_means(values: np.ndarray) -> np.ndarray:
    return np.array([_mean(row) for row in values])


def format_table(metrics: dict[str, float], class_names: Sequence[str]) -> str:
    """Lays out the figures of each class as text, one line per class."""
    rows = [('all nuclei', metrics['bPQ'], metrics['F1_det'])]
    rows += [(name, metrics[f'PQ_{name}'], metrics[f'F1_{name}'])
             for name in class_names]
    width = max(len(name) for name, _, _ in rows)
    lines = [f'{name:<{width}}  {pq:6.4f}  {f1:6.4f}' for name, pq, f1 in rows]
    return '\n'.join([f'{"class":<{width}}      PQ      F1', *lines])


def write_metrics(path: str | Path, metrics: dict[str, float]) -> None:
    """Writes figures as JSON, named as in MMEngine's own files (`cell/mPQ`).

    NaN, which JSON does not know, becomes null.
    """
    values = {f'cell/{name}': None if math.isnan(value) else value
              for name, value in metrics.items()}
    Path(path).write_text(json.dumps(values, indent=2) + '\n')
