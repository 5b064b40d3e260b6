# Copyright (c) CellVTA-MMSeg contributors.
"""From maps to a table of nuclei and what is known of them (numpy, OpenCV, SciPy).

A table is a dict of columns with one row per nucleus, in the order of the ids:

- `centroids` (N, 2) float32: mean pixel position x, y, px;
- `bboxes` (N, 4) int32: x1, y1, x2, y2, px, maximum exclusive;
- `labels` (N,) int64: class ids, 1..C-1;
- `scores` (N,) float32: mean probability of the label over the nucleus, 0-1;
- `class_probs` (N, C) float32: the same for every class, background included;
- `contours`: list of (K, 2) int32 x, y, px, pixel centres of the outer border.
"""
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from scipy import ndimage
from skimage.color import hed_from_rgb

from .instance_map import (
    HoverConstants,
    renumber,
    segment_instances,
    to_float32,
)
from .instance_pixels import InstancePixels

DARKEST_TRANSMISSION = 1 / 255  # a camera sees nothing below
TOKEN_STRIDE = 16  # px, one ViT patch: a token's side in the network's grid


class FoundNuclei(NamedTuple):
    """Nuclei of maps of (H, W) px.

    Attributes:
        inst_map: (H, W) int32, ids 1..N without gaps.
        table: Its table, see the module.
        everything: (H, W) int32, all nuclei, with those that were dropped, under ids of
            its own.
        pixels: The pixels of `inst_map`.
    """

    inst_map: np.ndarray
    table: dict
    everything: np.ndarray
    pixels: InstancePixels


def find_nuclei(np_map: np.ndarray, hv_map: np.ndarray, nc_map: np.ndarray,
                constants: HoverConstants, enlarge: int = 1,
                is_wanted: Callable[[np.ndarray], np.ndarray] | None = None,
                ) -> FoundNuclei:
    """Finds and classifies the nuclei, after enlarging the maps where asked for.

    Args:
        np_map: (2, H, W) float, probability of background and nucleus, 0-1.
        hv_map: (2, H, W) float, raw network output, x first.
        nc_map: (C, H, W) float, class probabilities, 0-1.
        constants: Sizes in px of the enlarged maps.
        enlarge: Factor by which the maps are enlarged, linearly.
        is_wanted: Called with centroids (M, 2) x, y px of the enlarged maps; nuclei for
            which it returns False are dropped before they are described.

    Returns:
        The nuclei, in the enlarged maps.
    """
    if enlarge > 1:
        np_map, hv_map, nc_map = (
            _enlarge(maps, enlarge) for maps in (np_map, hv_map, nc_map))
    inst_map = everything = segment_instances(np_map, hv_map, constants)
    pixels = InstancePixels(inst_map)
    if is_wanted is not None:
        wanted = is_wanted(pixels.centroids())
        inst_map, pixels = renumber(inst_map, wanted), pixels.select(wanted)
    # As published, NC may veto what NP and HV found, and one that has learned little
    # vetoes most nuclei.
    keep, table = _describe(
        inst_map, pixels, nc_map, drop_background=constants.markers == 'hovernet')
    return FoundNuclei(renumber(inst_map, keep), table, everything, pixels.select(keep))


def _enlarge(maps: np.ndarray, factor: int) -> np.ndarray:
    """Returns maps (C, H, W) as float32 (C, factor * H, factor * W)."""
    channels, height, width = maps.shape
    enlarged = np.empty((channels, factor * height, factor * width), np.float32)
    for channel, target in zip(maps.astype(np.float32), enlarged, strict=True):
        cv2.resize(channel, target.shape[::-1], dst=target)
    return enlarged


def describe_instances(inst_map: np.ndarray, nc_map: np.ndarray,
                       drop_background: bool = False) -> tuple[np.ndarray, dict]:
    """Classifies and measures the nuclei of an instance map.

    Every pixel votes for its most probable class; the nucleus gets the foreground class
    with most votes, the smallest id among equals. If all pixels vote for background, it
    gets the foreground class of the highest mean probability, or is dropped. Nuclei
    whose contour has fewer than three points are dropped.

    Args:
        inst_map: (H, W) int32, 0 background, ids 1..M without gaps.
        nc_map: (C, H, W) float, class probabilities, 0-1, background first.
        drop_background: Drop nuclei whose pixels all vote for background.

    Returns:
        The instance map of the nuclei kept, ids 1..N without gaps, and their table (see
        the module).
    """
    keep, table = _describe(
        inst_map, InstancePixels(inst_map), nc_map, drop_background)
    return renumber(inst_map, keep), table


def _describe(inst_map: np.ndarray, pixels: InstancePixels, nc_map: np.ndarray,
              drop_background: bool) -> tuple[np.ndarray, dict]:
    """Returns which instances (M,) are kept, and their table."""
    votes, class_probs = _class_statistics(pixels, nc_map)
    geometry = _measure(inst_map, pixels)
    voted = votes[:, 1:].any(axis=1)
    ranking = np.where(voted[:, None], votes[:, 1:], class_probs[:, 1:])
    labels = ranking.argmax(axis=1) + 1
    keep = np.array([len(c) >= 3 for c in geometry['contours']], dtype=bool)
    if drop_background:
        keep &= voted
    scores = np.take_along_axis(class_probs, labels[:, None], axis=1)[:, 0]
    table = dict(labels=labels, scores=scores, class_probs=class_probs, **geometry)
    return keep, _select(table, keep)


def _class_statistics(pixels: InstancePixels,
                      nc_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns votes (M, C) int64 and mean class probabilities (M, C) float32."""
    num, num_classes = len(pixels.areas), len(nc_map)
    probs = to_float32(pixels.pick(nc_map))
    winners = np.zeros(len(pixels.ids), np.int32)
    best = probs[0].copy()
    for class_id, own in enumerate(probs[1:], start=1):  # a third of `argmax`'s time
        better = own > best
        np.copyto(winners, class_id, where=better)
        np.maximum(best, own, out=best)
    ballots = (pixels.ids - 1) * num_classes + winners
    votes = np.bincount(ballots, minlength=num * num_classes)
    means = np.stack([pixels.mean(p) for p in probs], axis=1)
    return votes.reshape(num, num_classes), means.astype(np.float32)


def _measure(inst_map: np.ndarray, pixels: InstancePixels) -> dict:
    """Returns the columns `centroids`, `bboxes` and `contours`.

    scikit-image's `regionprops_table` takes twice as long, for the first two alone.
    """
    boxes, contours = [], []
    for inst_id, (ys, xs) in enumerate(ndimage.find_objects(inst_map), start=1):
        boxes.append((xs.start, ys.start, xs.stop, ys.stop))
        mask = (inst_map[ys, xs] == inst_id).view(np.uint8)
        contours.append(_outer_contour(mask, offset=(xs.start, ys.start)))
    return dict(
        centroids=pixels.centroids().astype(np.float32),
        bboxes=np.array(boxes, dtype=np.int32).reshape(-1, 4),
        contours=contours)


def _outer_contour(mask: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
    """Returns the border (K, 2) int32 x, y px of the largest part of a uint8 mask."""
    contours, _ = cv2.findContours(
        mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=offset)
    largest = contours[0]
    if len(contours) > 1:
        largest = max(contours, key=cv2.contourArea)
    return largest.reshape(-1, 2)


def _select(table: dict, keep: np.ndarray) -> dict:
    """Returns the rows of a table where `keep` (M,) is True."""
    return {
        name: [row for row, kept in zip(column, keep, strict=True) if kept]
        if isinstance(column, list) else column[keep]
        for name, column in table.items()}


def rescale_instances(inst_map: np.ndarray, table: dict,
                      shape: tuple[int, int]) -> tuple[np.ndarray, dict]:
    """Brings nuclei to another grid over the same field of view.

    The map is sampled at the nearest pixel centre. Centroids, boxes and contours are
    measured on the sampled map, so that they agree with it to the pixel; classes and
    probabilities stay. Nuclei that no sample hits are dropped.

    Args:
        inst_map: (h, w) int32, 0 background, ids 1..M without gaps.
        table: Its M nuclei (see the module).
        shape: (H, W) of the image, px; both axes scale on their own.

    Returns:
        (H, W) int32 map with ids 1..N without gaps, and its table.
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
    geometry = _measure(sampled, InstancePixels(sampled))
    return sampled, {**_select(table, keep), **geometry}


def measure_nuclei(inst_map: np.ndarray, image: np.ndarray, mpp: float,
                   pixels: InstancePixels | None = None) -> dict[str, np.ndarray]:
    """Measures size, shape and stains of the nuclei of a map.

    Axes and eccentricity are those of the ellipse with the same second moments, as
    scikit-image's `regionprops_table` defines them, which takes 8 times as long. Stains
    are separated with the vectors of Ruifrok and Johnston (2001); a nucleus has the
    mean over its pixels.

    Args:
        inst_map: (H, W) int32, 0 background, ids 1..N without gaps.
        image: (H, W, 3) uint8 RGB, 0-255.
        mpp: Size of a pixel, µm.
        pixels: Those of the map, where they are known already.

    Returns:
        Columns (N,) float32 in the order of the ids: `area_um2`, `major_axis_um`,
        `minor_axis_um`, `eccentricity` (0-1), `hematoxylin_od` and `eosin_od` (optical
        density).
    """
    pixels = pixels or InstancePixels(inst_map)
    major, minor = _axes(pixels, inst_map.shape[1])
    hematoxylin, eosin = _stains(
        np.take(image.reshape(-1, 3), pixels.positions, axis=0))
    eccentricity = np.sqrt(np.maximum(1 - (minor / major)**2, 0))
    features = dict(
        area_um2=pixels.areas * mpp**2, major_axis_um=major * mpp,
        minor_axis_um=minor * mpp, eccentricity=eccentricity,
        hematoxylin_od=pixels.mean(hematoxylin), eosin_od=pixels.mean(eosin))
    return {name: column.astype(np.float32) for name, column in features.items()}


def measure_cytoplasm(inst_map: np.ndarray, cell_map: np.ndarray, image: np.ndarray,
                      mpp: float) -> dict[str, np.ndarray]:
    """Measures cells and the stains around their nuclei.

    Args:
        inst_map: (H, W) int32, 0 background, nuclei.
        cell_map: (H, W) int32, N cells with ids 1..N, cells of others negative.
        image: (H, W, 3) uint8 RGB, 0-255.
        mpp: Size of a pixel, µm.

    Returns:
        Columns (N,) float32 in the order of the ids: `cell_area_um2`, and
        `cytoplasm_hematoxylin_od` and `cytoplasm_eosin_od` (optical density, mean over
        the cell without nuclei; not a number where there is no such pixel).
    """
    num = cell_map.max(initial=0)
    in_cell, in_nucleus = cell_map > 0, inst_map > 0
    positions = np.flatnonzero(in_cell & ~in_nucleus)
    ids = np.take(cell_map, positions).astype(np.intp)
    counts = np.bincount(ids, minlength=num + 1)[1:]
    nuclei = np.bincount(cell_map[in_cell & in_nucleus], minlength=num + 1)[1:]
    features = dict(cell_area_um2=(counts + nuclei) * mpp**2)
    stains = _stains(np.take(image.reshape(-1, 3), positions, axis=0))
    for name, densities in zip(('hematoxylin', 'eosin'), stains, strict=True):
        sums = np.bincount(ids, weights=densities, minlength=num + 1)[1:]
        with np.errstate(invalid='ignore'):
            features[f'cytoplasm_{name}_od'] = sums / counts
    return {name: column.astype(np.float32) for name, column in features.items()}


def _axes(pixels: InstancePixels, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns major and minor axis (N,), px, of ellipses with the same moments."""
    row = pixels.ids - 1
    y, x = (position - pixels.mean(position)[row]
            for position in np.divmod(pixels.positions, width))
    # A pixel is a square, not a point: 1/12 px² along each axis.
    xx, yy, xy = (pixels.mean(x * x) + 1 / 12, pixels.mean(y * y) + 1 / 12,
                  pixels.mean(x * y))
    middle, spread = (xx + yy) / 2, np.sqrt(((xx - yy) / 2)**2 + xy**2)
    return 4 * np.sqrt(middle + spread), 4 * np.sqrt(np.maximum(middle - spread, 0))


def _stains(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns densities (P,) of hematoxylin and eosin in uint8 RGB pixels (P, 3)."""
    transmission = np.arange(256, dtype=np.float32) / 255
    table = -np.log10(np.maximum(transmission, DARKEST_TRANSMISSION))
    if not len(rgb):
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    # OpenCV reads a table in a third of numpy's time. The threads of a product of
    # matrices would get in the way of other workers.
    red, green, blue = cv2.LUT(rgb, table).T
    return tuple(
        np.maximum(red * by_red + green * by_green + blue * by_blue, 0)
        for by_red, by_green, by_blue in hed_from_rgb.T[:2].astype(np.float32))


def cell_tokens(tokens: np.ndarray, bboxes: np.ndarray) -> np.ndarray:
    """Describes each nucleus by the mean of the tokens that its box touches.

    As CellViT++ does (arXiv:2501.05269): from floor(min / 16) to ceil(max / 16).

    Args:
        tokens: (D, h, w) float, one token per 16 x 16 px.
        bboxes: (N, 4) x1, y1, x2, y2, px of the image that the network saw, maximum
            exclusive; fractions of a px are fine.

    Returns:
        (N, D) float32.

    Raises:
        ValueError: When a box is empty or lies outside the tokens.
    """
    bboxes = np.asarray(bboxes, dtype=np.float64).reshape(-1, 4)
    starts = np.floor(bboxes[:, :2] / TOKEN_STRIDE).astype(np.int64)
    stops = np.ceil(bboxes[:, 2:] / TOKEN_STRIDE).astype(np.int64)
    grid = tokens.shape[:0:-1]  # columns, rows
    wrong = ((starts < 0) | (stops > grid) | (starts >= stops)).any(axis=1)
    if wrong.any():
        raise ValueError(
            f'box {bboxes[wrong][0].tolist()} (x1, y1, x2, y2 px): expected a box with '
            f'pixels inside the {grid[0] * TOKEN_STRIDE} x {grid[1] * TOKEN_STRIDE} px '
            'that the tokens cover; bring boxes to the pixels of the network first')
    means = np.empty((len(bboxes), len(tokens)), dtype=np.float32)
    for row, ((x1, y1), (x2, y2)) in enumerate(zip(starts, stops, strict=True)):
        means[row] = tokens[:, y1:y2, x1:x2].mean(axis=(1, 2))
    return means
