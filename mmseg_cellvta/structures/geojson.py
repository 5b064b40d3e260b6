# Copyright (c) CellVTA-MMSeg contributors.
"""Nuclei as QuPath detections (GeoJSON)."""
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import shapely

from ..utils.files import complete_file
from .outlines import nucleus_outlines, ring_polygons

HEAD, BETWEEN, TAIL = '{"type": "FeatureCollection", "features": [\n', ',\n', '\n]}\n'


def to_geojson_features(instances: Any, classes: Sequence[str],
                        palette: Sequence[Sequence[int]]) -> list[dict]:
    """Turn nuclei into GeoJSON features, one closed and valid polygon each.

    Args:
        instances (InstanceData): Has `contours` (list of (K, 2) x, y px, border pixel
            centres), `labels` (N,), `scores` (N,) and `class_probs` (N, C).
        classes (Sequence[str]): C class names, background first.
        palette (Sequence[Sequence[int]]): C colours, RGB 0-255.

    Returns:
        list[dict]: N features of QuPath's `objectType` 'detection', with coordinates
        x, y in px from the top left corner of the picture.

    Raises:
        ValueError: If names, colours and probabilities do not belong together.
    """
    num_classes = np.shape(instances.class_probs)[1]
    if not len(classes) == len(palette) == num_classes:
        raise ValueError(
            f'{len(classes)} classes and {len(palette)} palette colours for nuclei '
            f'with {num_classes} class probabilities; expected the same number of '
            'each, background included.')
    outlines = nucleus_outlines(instances.contours)
    measurements = dict(
        area_px=shapely.area(ring_polygons(outlines)),
        **probability_columns(classes, instances.scores, instances.class_probs))
    return list(make_features(
        outlines, instances.labels, measurements, classes, palette))


def write_geojson(path: str | os.PathLike, instances: Any, classes: Sequence[str],
                  palette: Sequence[Sequence[int]]) -> None:
    """Write nuclei as a FeatureCollection that QuPath opens by drag and drop.

    The file appears under its name only when it is complete.

    Args:
        path (str | os.PathLike): Target file; its folder must exist.
        instances (InstanceData): See `to_geojson_features`, as the other arguments.
        classes (Sequence[str]): C class names, background first.
        palette (Sequence[Sequence[int]]): C colours, RGB 0-255.
    """
    features = to_geojson_features(instances, classes, palette)
    with complete_file(path) as part, open(part, 'w', encoding='utf-8') as file:
        file.write(HEAD + BETWEEN.join(map(json.dumps, features)) + TAIL)


def probability_columns(classes: Sequence[str], scores: np.ndarray,
                        class_probs: np.ndarray) -> dict[str, np.ndarray]:
    """`score` and `prob_<class>` (N,) of scores (N,) and probabilities (N, C)."""
    columns = np.reshape(class_probs, (-1, len(classes))).T
    return dict(score=scores, **{
        f'prob_{name}': column for name, column in zip(classes, columns, strict=True)})


def make_features(outlines: Sequence[np.ndarray], labels: np.ndarray,
                  measurements: dict[str, Sequence[float]], classes: Sequence[str],
                  palette: Sequence[Sequence[int]]) -> Iterator[dict]:
    """Make the features of N nuclei, one by one.

    Args:
        outlines (Sequence[np.ndarray]): N closed rings (K, 2), x, y px.
        labels (np.ndarray): (N,) class ids.
        measurements (dict[str, Sequence[float]]): N numbers by name; written with four
            decimals.
        classes (Sequence[str]): C class names.
        palette (Sequence[Sequence[int]]): C colours, RGB 0-255.
    """
    kinds = [dict(name=name, color=[int(value) for value in color])
             for name, color in zip(classes, palette, strict=True)]
    columns = [np.round(np.asarray(column, np.float64), 4).tolist()
               for column in measurements.values()]
    for ring, label, *values in zip(outlines, labels, *columns, strict=True):
        yield dict(
            type='Feature',
            geometry=dict(type='Polygon', coordinates=[ring.tolist()]),
            properties=dict(
                objectType='detection',
                classification=kinds[label],
                measurements=dict(zip(measurements, values, strict=True))))
