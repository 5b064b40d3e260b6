# Copyright (c) CellVTA-MMSeg contributors.
"""Outlines of nuclei as valid polygons (plain numpy, shapely)."""
from collections.abc import Sequence

import numpy as np
import shapely

# Coordinates are multiples of 1/8 px: exact in binary, short in a file.
GRID_PX = 0.125


def nucleus_outlines(contours: Sequence[np.ndarray],
                     offset: tuple[float, float] = (0, 0),
                     scale: tuple[float, float] = (1, 1)) -> list[np.ndarray]:
    """Outlines along the outer edges of the nuclei's border pixels.

    A contour runs through pixel centres, may touch itself, and may be a line or a point
    where the nucleus is one pixel wide; its outline half a pixel further out is always
    a polygon. Right angles stay, so that a rectangle keeps its pixels' exact area.

    Args:
        contours (Sequence[np.ndarray]): N arrays (K, 2), x, y px of a map, K >= 1.
        offset (tuple[float, float]): x, y px of the map's top left corner.
        scale (tuple[float, float]): Px of the target per px of the map, along x and y.

    Returns:
        list[np.ndarray]: N closed rings (K, 2) float64, x, y in px of the target,
        multiples of 1/8. Each bounds a valid polygon without holes.
    """
    if not len(contours):
        return []
    lengths = [len(contour) for contour in contours]
    points = np.concatenate(contours).astype(np.float64) + 0.5
    traces = _trace_all(points, lengths)
    outlines = shapely.buffer(
        traces, 0.5, cap_style='square', join_style='mitre', mitre_limit=1.5)
    outlines = shapely.transform(outlines, lambda xy: (xy + offset) * scale)
    outlines = shapely.set_precision(outlines, GRID_PX)
    in_parts = np.flatnonzero(shapely.get_type_id(outlines) != shapely.GeometryType.
                              POLYGON)
    for index in in_parts:
        outlines[index] = max(shapely.get_parts(outlines[index]), key=shapely.area)
    rings, owners = shapely.get_coordinates(
        shapely.get_exterior_ring(outlines), return_index=True)
    return np.split(rings, np.flatnonzero(np.diff(owners)) + 1)


def ring_polygons(rings: Sequence[np.ndarray]) -> np.ndarray:
    """Polygons (N,) inside N closed rings (K, 2), as shapely's functions take them."""
    if not len(rings):
        return np.zeros(0, object)
    owners = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    return shapely.polygons(
        shapely.linearrings(np.concatenate(rings), indices=owners))


def _trace_all(points: np.ndarray, lengths: list[int]) -> np.ndarray:
    """What each closed path (its points lie one after another) runs around or along."""
    owners = np.repeat(np.arange(len(lengths)), lengths)
    areas = np.array(lengths) > 2
    traces = np.empty(len(lengths), object)
    traces[areas] = shapely.polygons(shapely.linearrings(
        points[areas[owners]], indices=(np.cumsum(areas) - 1)[owners[areas[owners]]]))
    plain = areas & (shapely.area(traces) > 0) & shapely.is_valid(traces)
    starts = np.cumsum([0, *lengths])
    for index in np.flatnonzero(~plain):
        traces[index] = _trace(points[starts[index]:starts[index + 1]])
    return traces


def _trace(points: np.ndarray) -> shapely.Geometry:
    """The same for a path that is no simple polygon."""
    if (points == points[0]).all():
        return shapely.Point(points[0])
    area = shapely.Polygon(points) if len(points) > 2 else shapely.Polygon()
    path = shapely.LineString([*points, points[0]])
    # The union cuts the path where it meets itself: spikes end, instead of turning.
    return shapely.line_merge(shapely.unary_union(path)).union(shapely.make_valid(area))
