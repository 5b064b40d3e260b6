# Copyright (c) CellVTA-MMSeg contributors.
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import shapely

from ..utils.files import complete_file
from ..utils.names import check_class_names

# Outlines lie on multiples of 1/8 px: exact in binary, short in a file.
GRID_PX = 0.125
FEATURE_PREFIX = 'features/'  # of their names in a saved table
# Columns of outlines, and the arrays of points and lengths of a saved table.
RING_ARRAYS = dict(outlines=('points', 'lengths'),
                   cell_outlines=('cell_points', 'cell_lengths'))
TWO_AXES = ('centroids', 'class_probs', 'embeddings',
            *(points for points, _ in RING_ARRAYS.values()))


@dataclass(frozen=True)
class SlideInfo:
    """The image or slide that cells were found on, as writers of results need it.

    Attributes:
        name: File name without suffix.
        shape: (height, width) px of level 0.
        mpp: Size of a pixel of level 0, µm. Only files without lengths in µm (GeoJSON)
            can be written when it is None.
        classes: C class names, background first.
        palette: C colours, RGB 0-255.
        origin: (x, y) px of level 0 from which the cells are counted, the corner of
            what `shape` is the size of; (0, 0) unless that is a part of the slide.

    Raises:
        ValueError: When two classes have one name, see `check_class_names`.
    """

    name: str
    shape: tuple[int, int]
    mpp: float | None
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    origin: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        check_class_names(self.classes, self.name)


@dataclass
class CellTable:
    """The nuclei of an image or slide, one row each, in px of its level 0.

    Attributes:
        centroids: (N, 2) float64, (x, y) px.
        labels: (N,) int64, class ids from 1 on; 0 is background.
        scores: (N,) float32, probability of the label, 0-1.
        class_probs: (N, C) float32, probability of every class with background, 0-1.
        outlines: N closed rings (K, 2) float64, (x, y) px, K >= 4, first point
            repeated; each bounds a valid polygon.
        features: Measurements by name, (N,) float32 each.
        embeddings: (N, D) float, the encoder's vector of each nucleus; D is 0 where
            none was asked for.
        cell_outlines: N rings as `outlines`, of the cells around the nuclei; None where
            cells were not asked for. Cells do not overlap.
    """

    centroids: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    class_probs: np.ndarray
    outlines: list[np.ndarray]
    features: dict[str, np.ndarray] = field(default_factory=dict)
    embeddings: np.ndarray | None = None
    cell_outlines: list[np.ndarray] | None = None

    def __post_init__(self) -> None:
        if self.embeddings is None:
            self.embeddings = np.zeros((len(self), 0), np.float32)
        assert all(len(column) == len(self) for column in (
            self.centroids, self.scores, self.class_probs, self.outlines,
            self.embeddings, *self.features.values(), *self._rings().values()))

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: np.ndarray) -> 'CellTable':
        """Returns the rows of a boolean mask (N,) or of row numbers, in that order."""
        rows = np.arange(len(self))[rows]
        return replace(
            self,
            features={name: column[rows] for name, column in self.features.items()},
            **{name: [rings[row] for row in rows]
               for name, rings in self._rings().items()},
            **{name: getattr(self, name)[rows] for name in _array_columns()})

    def moved(self, offset: tuple[float, float]) -> 'CellTable':
        """Returns the table with all places moved by (x, y) px."""
        if not any(offset):
            return self
        return replace(
            self, centroids=self.centroids + offset,
            **{name: [ring + offset for ring in rings]
               for name, rings in self._rings().items()})

    @staticmethod
    def concatenate(tables: Sequence['CellTable']) -> 'CellTable':
        """Joins the rows of tables, at least one, with equal columns."""
        return CellTable(
            **{name: [ring for table in tables for ring in table._rings()[name]]
               for name in tables[0]._rings()},
            features={name: np.concatenate([table.features[name] for table in tables])
                      for name in tables[0].features},
            **{name: np.concatenate([getattr(table, name) for table in tables])
               for name in _array_columns()})

    def save(self, path: str | os.PathLike) -> None:
        """Writes an `.npz` file, which appears under its name when it is complete."""
        arrays = {name: getattr(self, name) for name in _array_columns()}
        arrays.update({
            FEATURE_PREFIX + name: column for name, column in self.features.items()})
        for name, rings in self._rings().items():
            points, lengths = RING_ARRAYS[name]
            arrays[points] = np.concatenate([np.zeros((0, 2)), *rings])
            arrays[lengths] = np.array([len(ring) for ring in rings], np.int64)
        with complete_file(path) as part, open(part, 'wb') as file:
            np.savez(file, **arrays)

    @staticmethod
    def load(path: str | os.PathLike) -> 'CellTable':
        """Reads what `save` wrote.

        Raises:
            OSError: When there is no such file.
            ValueError: When the file is damaged.
        """
        try:
            with np.load(Path(path), allow_pickle=False) as file:
                return CellTable._from_arrays(dict(file))
        except FileNotFoundError:
            raise
        except Exception as error:  # numpy and zipfile raise many types
            raise ValueError(f'{path}: damaged ({type(error).__name__}); delete it and '
                             'its cells are found again') from error

    @staticmethod
    def _from_arrays(arrays: dict[str, np.ndarray]) -> 'CellTable':
        if any(array.ndim != 1 + (name in TWO_AXES) or array.dtype.kind not in 'fiu'
               for name, array in arrays.items()):
            raise ValueError('an array has other axes or values')
        return CellTable(
            **{name: split_rings(arrays[points], arrays[lengths])
               for name, (points, lengths) in RING_ARRAYS.items() if points in arrays},
            features={name.removeprefix(FEATURE_PREFIX): column
                      for name, column in arrays.items()
                      if name.startswith(FEATURE_PREFIX)},
            **{name: arrays[name] for name in _array_columns()})

    def _rings(self) -> dict[str, list[np.ndarray]]:
        """The columns of outlines that there are."""
        return {name: getattr(self, name) for name in RING_ARRAYS
                if getattr(self, name) is not None}


def _array_columns() -> list[str]:
    return [f.name for f in fields(CellTable)
            if f.name not in ('features', *RING_ARRAYS)]


def split_rings(points: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Splits the points (P, 2) of rings one behind the other by their numbers (N,)."""
    ends = np.cumsum(lengths).tolist()
    return [points[start:end] for start, end in pairwise([0, *ends])]


def nucleus_outlines(contours: Sequence[np.ndarray],
                     offset: tuple[float, float] = (0, 0),
                     scale: tuple[float, float] = (1, 1)) -> list[np.ndarray]:
    """Returns outlines along the outer edges of the nuclei's border pixels.

    A contour runs through pixel centres, may touch itself, and may be a line or a point
    where the nucleus is one pixel wide; its outline half a pixel further out is always
    a polygon. Right angles stay, so that a rectangle keeps its pixels' exact area.

    Args:
        contours: N arrays (K, 2), (x, y) px of a map, K >= 1.
        offset: (x, y) px of the map's top left corner.
        scale: Px of the target per px of the map, along x and y.

    Returns:
        N closed rings (K, 2) float64, (x, y) px of the target, multiples of 1/8. Each
        bounds a valid polygon without holes.
    """
    if not len(contours):
        return []
    lengths = [len(contour) for contour in contours]
    points = np.concatenate(contours).astype(np.float64) + 0.5
    traces = _trace_all(points, lengths)
    outlines = shapely.buffer(
        traces, 0.5, cap_style='square', join_style='mitre', mitre_limit=1.5)
    outlines = shapely.transform(outlines, lambda xy: (xy + offset) * scale)
    rounded = shapely.remove_repeated_points(
        shapely.set_precision(outlines, GRID_PX, mode='pointwise'))
    # Rounding to the grid can close a narrow neck, which needs the slow way.
    invalid = np.flatnonzero(~shapely.is_valid(rounded))
    for index in invalid:
        outline = shapely.set_precision(outlines[index], GRID_PX)
        # A neck may be cut: the largest part stands for all.
        rounded[index] = max(shapely.get_parts(outline), key=shapely.area)
    outlines = rounded
    rings, owners = shapely.get_coordinates(
        shapely.get_exterior_ring(outlines), return_index=True)
    return np.split(rings, np.flatnonzero(np.diff(owners)) + 1)


def ring_polygons(rings: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the polygons (N,) inside N closed rings (K, 2), as shapely takes them."""
    if not len(rings):
        return np.zeros(0, object)
    owners = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    return shapely.polygons(
        shapely.linearrings(np.concatenate(rings), indices=owners))


def _trace_all(points: np.ndarray, lengths: list[int]) -> np.ndarray:
    """Returns the area or line that each closed path covers; `points`: path by path."""
    owners = np.repeat(np.arange(len(lengths)), lengths)
    closed = np.array(lengths) > 2
    in_closed = closed[owners]
    traces = np.empty(len(lengths), object)
    traces[closed] = shapely.polygons(shapely.linearrings(
        points[in_closed], indices=(np.cumsum(closed) - 1)[owners[in_closed]]))
    simple = closed & (shapely.area(traces) > 0) & shapely.is_valid(traces)
    starts = np.cumsum([0, *lengths])
    for index in np.flatnonzero(~simple):
        traces[index] = _trace(points[starts[index]:starts[index + 1]])
    return traces


def _trace(points: np.ndarray) -> shapely.Geometry:
    """Does the same for one path that is no simple polygon."""
    if (points == points[0]).all():
        return shapely.Point(points[0])
    area = shapely.Polygon(points) if len(points) > 2 else shapely.Polygon()
    path = shapely.LineString([*points, points[0]])
    # The union cuts the path where it meets itself: spikes end, instead of turning.
    return shapely.line_merge(shapely.unary_union(path)).union(shapely.make_valid(area))
