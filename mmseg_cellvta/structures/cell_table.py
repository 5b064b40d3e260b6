# Copyright (c) CellVTA-MMSeg contributors.
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import shapely

from ..utils.files import complete_file

# Coordinates are multiples of 1/8 px: exact in binary, short in a file.
GRID_PX = 0.125


@dataclass(frozen=True)
class SlideInfo:
    """What writers of results need to know of a picture or slide.

    Attributes:
        name (str): File name without suffix.
        shape (tuple[int, int]): (height, width) px of level 0.
        mpp (float): Size of a pixel of level 0, µm.
        classes (tuple[str, ...]): C class names, background first.
        palette (tuple[tuple[int, int, int], ...]): C colours, RGB 0-255.
    """

    name: str
    shape: tuple[int, int]
    mpp: float
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]


@dataclass
class CellTable:
    """Nuclei of a picture or slide, one row each, in px of its level 0.

    Attributes:
        centroids (np.ndarray): (N, 2) float64, x, y px.
        labels (np.ndarray): (N,) int64, class ids from 1 on; 0 is background.
        scores (np.ndarray): (N,) float32, probability of the label, 0-1.
        class_probs (np.ndarray): (N, C) float32, of every class with background, 0-1.
        outlines (list[np.ndarray]): N closed rings (K, 2) float64, x, y px, K >= 4,
            first point repeated; each bounds a valid polygon.
        features (dict[str, np.ndarray]): Measurements by name, (N,) float32 each.
        embeddings (np.ndarray): (N, D) float, the encoder's view of each nucleus;
            D is 0 where it was not asked for.
    """

    centroids: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    class_probs: np.ndarray
    outlines: list[np.ndarray]
    features: dict[str, np.ndarray] = field(default_factory=dict)
    embeddings: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.embeddings is None:
            self.embeddings = np.zeros((len(self), 0), np.float32)
        assert all(len(column) == len(self) for column in (
            self.centroids, self.scores, self.class_probs, self.outlines,
            self.embeddings, *self.features.values()))

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: np.ndarray) -> 'CellTable':
        """The nuclei of a boolean mask (N,) or of row numbers, in that order."""
        rows = np.arange(len(self))[rows]
        return replace(
            self,
            outlines=[self.outlines[row] for row in rows],
            features={name: column[rows] for name, column in self.features.items()},
            **{name: getattr(self, name)[rows] for name in _array_columns()})

    @staticmethod
    def concatenate(tables: Sequence['CellTable']) -> 'CellTable':
        """All rows of tables with the same classes and features, at least one table."""
        return CellTable(
            outlines=[ring for table in tables for ring in table.outlines],
            features={name: np.concatenate([table.features[name] for table in tables])
                      for name in tables[0].features},
            **{name: np.concatenate([getattr(table, name) for table in tables])
               for name in _array_columns()})

    def save(self, path: str | os.PathLike) -> None:
        """Write a ``.npz`` file, which appears under its name when it is complete."""
        arrays = {name: getattr(self, name) for name in _array_columns()}
        arrays.update({
            f'features/{name}': column for name, column in self.features.items()})
        arrays['points'] = np.concatenate([np.zeros((0, 2)), *self.outlines])
        arrays['lengths'] = np.array([len(ring) for ring in self.outlines], np.int64)
        with complete_file(path) as part, open(part, 'wb') as file:
            np.savez(file, **arrays)

    @staticmethod
    def load(path: str | os.PathLike) -> 'CellTable':
        """Read what `save` wrote."""
        with np.load(Path(path), allow_pickle=False) as file:
            arrays = dict(file)
        ends = np.cumsum(arrays['lengths'])[:-1]
        outlines = np.split(arrays['points'], ends) if len(arrays['lengths']) else []
        prefix = 'features/'
        return CellTable(
            outlines=outlines,
            features={name.removeprefix(prefix): column
                      for name, column in arrays.items() if name.startswith(prefix)},
            **{name: arrays[name] for name in _array_columns()})


def _array_columns() -> list[str]:
    return [f.name for f in fields(CellTable) if f.name not in ('outlines', 'features')]


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
