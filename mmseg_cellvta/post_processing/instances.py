# Copyright (c) CellVTA-MMSeg contributors.
"""From an instance map to a table of nuclei (plain numpy, OpenCV, scipy).

A table is a dict of columns with one row per nucleus, in the order of the ids:

- `centroids` (N, 2) float32: mean pixel position x, y in px;
- `bboxes` (N, 4) int32: x1, y1, x2, y2 in px, maximum exclusive;
- `labels` (N,) int64: class ids, 1..C-1;
- `scores` (N,) float32: mean probability of the label over the nucleus, 0-1;
- `class_probs` (N, C) float32: the same for every class, background included;
- `contours`: list of (K, 2) int32 x, y in px, pixel centres of the outer border.
"""
import cv2
import numpy as np
from scipy import ndimage

from .instance_map import renumber


def describe_instances(inst_map: np.ndarray, nc_map: np.ndarray,
                       drop_background: bool = False) -> tuple[np.ndarray, dict]:
    """Classify and measure the nuclei of an instance map.

    Every pixel votes for its most probable class; the nucleus gets the foreground class
    with most votes, the smallest id among equals. If all pixels vote for background, it
    gets the foreground class of the highest mean probability, or is dropped. Nuclei
    whose contour has fewer than three points are dropped.

    Args:
        inst_map (np.ndarray): (H, W) int32, 0 background, ids 1..M without gaps.
        nc_map (np.ndarray): (C, H, W) float, class probabilities, background first.
        drop_background (bool): Drop nuclei whose pixels all vote for background.
            Defaults to False.

    Returns:
        tuple[np.ndarray, dict]: The instance map of the nuclei kept (ids 1..N without
        gaps) and their table (see the module).
    """
    votes, class_probs = _class_statistics(inst_map, nc_map)
    geometry = _measure(inst_map)
    voted = votes[:, 1:].any(axis=1)
    ranking = np.where(voted[:, None], votes[:, 1:], class_probs[:, 1:])
    labels = ranking.argmax(axis=1) + 1
    keep = np.array([len(c) >= 3 for c in geometry['contours']], dtype=bool)
    if drop_background:
        keep &= voted
    scores = np.take_along_axis(class_probs, labels[:, None], axis=1)[:, 0]
    table = dict(labels=labels, scores=scores, class_probs=class_probs, **geometry)
    return renumber(inst_map, keep), _select(table, keep)


def rescale_instances(inst_map: np.ndarray, table: dict,
                      shape: tuple[int, int]) -> tuple[np.ndarray, dict]:
    """Bring nuclei to another grid over the same field of view.

    The map is sampled at the nearest pixel centre. Centroids, boxes and contours are
    measured on the sampled map, so that they agree with it to the pixel; classes and
    probabilities stay. Nuclei that no sample hits are dropped.

    Args:
        inst_map (np.ndarray): (h, w) int32, 0 background, ids 1..M without gaps.
        table (dict): Its M nuclei (see the module).
        shape (tuple[int, int]): (H, W) of the picture; both axes scale on their own.

    Returns:
        tuple[np.ndarray, dict]: (H, W) int32 map with ids 1..N without gaps, and its
        table.
    """
    if inst_map.shape == tuple(shape):
        return inst_map, table
    rows, cols = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64)
        for new, old in zip(shape, inst_map.shape, strict=True))
    sampled = inst_map[rows[:, None], cols]
    counts = np.bincount(sampled.ravel(), minlength=len(table['labels']) + 1)
    keep = counts[1:] > 0
    sampled = renumber(sampled, keep)
    return sampled, {**_select(table, keep), **_measure(sampled)}


def _class_statistics(inst_map: np.ndarray,
                      nc_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Votes (M, C) int64 and mean class probabilities (M, C) float32 per nucleus."""
    num_classes = len(nc_map)
    num = int(inst_map.max())
    foreground = np.flatnonzero(inst_map > 0)
    rows = inst_map.ravel()[foreground].astype(np.int64) - 1
    probs = nc_map.reshape(num_classes, -1)[:, foreground].astype(np.float32)
    ballots = rows * num_classes + probs.argmax(axis=0)
    votes = np.bincount(ballots, minlength=num * num_classes)
    sums = [np.bincount(rows, weights=p, minlength=num) for p in probs]
    means = np.stack(sums, axis=1) / np.bincount(rows, minlength=num)[:, None]
    return votes.reshape(num, num_classes), means.astype(np.float32)


def _measure(inst_map: np.ndarray) -> dict:
    """Columns `centroids`, `bboxes` and `contours` of a map without gaps in its ids."""
    foreground = np.flatnonzero(inst_map > 0)
    ids = inst_map.ravel()[foreground]
    rows, cols = np.divmod(foreground, inst_map.shape[1])
    sums = [np.bincount(ids, weights=position)[1:] for position in (cols, rows)]
    centroids = np.stack(sums, axis=1) / np.bincount(ids)[1:, None]
    boxes, contours = [], []
    for inst_id, (ys, xs) in enumerate(ndimage.find_objects(inst_map), start=1):
        boxes.append((xs.start, ys.start, xs.stop, ys.stop))
        mask = (inst_map[ys, xs] == inst_id).view(np.uint8)
        contours.append(_outer_contour(mask, offset=(xs.start, ys.start)))
    return dict(
        centroids=centroids.astype(np.float32),
        bboxes=np.array(boxes, dtype=np.int32).reshape(-1, 4),
        contours=contours)


def _outer_contour(mask: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
    """Border pixels (K, 2) int32 of the largest part of a uint8 mask, x, y in px."""
    contours, _ = cv2.findContours(
        mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=offset)
    largest = contours[0]
    if len(contours) > 1:
        largest = max(contours, key=cv2.contourArea)
    return largest.reshape(-1, 2)


def _select(table: dict, keep: np.ndarray) -> dict:
    """Rows of a table where `keep` (M,) is True."""
    return {
        name: [row for row, kept in zip(column, keep, strict=True) if kept]
        if isinstance(column, list) else column[keep]
        for name, column in table.items()}
