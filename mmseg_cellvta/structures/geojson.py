# Copyright (c) CellVTA-MMSeg contributors.
"""Nuclei as QuPath detections (GeoJSON)."""
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely

from ..utils.complete_file import complete_file

# Coordinates are multiples of 1/8 px: exact in binary, short in the file.
GRID_PX = 0.125


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
    nuclei = zip(instances.contours, instances.labels, instances.scores,
                 instances.class_probs, strict=True)
    return [
        _to_feature(
            contour_polygon(contour), classes[label], palette[label],
            dict(score=score, **{f'prob_{c}': p for c, p in zip(
                classes, probs, strict=True)}))
        for contour, label, score, probs in nuclei]


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
        file.write('{"type": "FeatureCollection", "features": [\n')
        file.write(',\n'.join(map(json.dumps, features)))
        file.write('\n]}\n')


def contour_polygon(contour: np.ndarray) -> shapely.Polygon:
    """Outline of a nucleus along the outer edges of its border pixels.

    A contour runs through pixel centres, may touch itself, and may be a line or a point
    where the nucleus is one pixel wide; its outline half a pixel further out is always
    a polygon. Right angles stay, so that a rectangle keeps its pixels' exact area.

    Args:
        contour (np.ndarray): (K, 2) x, y px, K >= 1.

    Returns:
        shapely.Polygon: Valid, without holes, in px from the picture's top left corner.
    """
    outline = _trace(np.asarray(contour, dtype=np.float64) + 0.5).buffer(
        0.5, cap_style='square', join_style='mitre', mitre_limit=1.5)
    outline = shapely.set_precision(outline, GRID_PX)
    largest = max(shapely.get_parts(outline), key=shapely.area)
    return shapely.Polygon(largest.exterior)


def _trace(points: np.ndarray) -> shapely.Geometry:
    """Everything the closed path through the points runs along or around."""
    if (points == points[0]).all():
        return shapely.Point(points[0])
    area = shapely.Polygon(points) if len(points) > 2 else shapely.Polygon()
    if area.area > 0 and area.is_valid:
        return area
    path = shapely.LineString([*points, points[0]])
    # The union cuts the path where it meets itself: spikes end, instead of turning.
    return shapely.line_merge(shapely.unary_union(path)).union(shapely.make_valid(area))


def _to_feature(polygon: shapely.Polygon, name: str, color: Sequence[int],
                measurements: dict) -> dict:
    measurements = dict(area_px=polygon.area, **measurements)
    return dict(
        type='Feature',
        geometry=shapely.geometry.mapping(polygon),
        properties=dict(
            objectType='detection',
            classification=dict(name=name, color=[int(value) for value in color]),
            measurements={k: round(float(v), 4) for k, v in measurements.items()}))
