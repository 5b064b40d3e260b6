# Copyright (c) CellVTA-MMSeg contributors.
"""Counts, areas, places and a random sample of the nuclei of a slide."""
import heapq

import numpy as np
import shapely
from scipy.ndimage import gaussian_filter

from ..structures.cell_table import CellTable, SlideInfo, ring_polygons

TISSUE_SQUARE_UM = 100.0  # a sparse stroma still has a nucleus in most such squares
AREA_STEP_UM2 = 5.0
AREA_BINS = 40  # up to 200 µm²; the last bin holds all larger nuclei
SAMPLE_SIZE = 12
# Bins of the density are the finest that a page shows of a slide, but no finer than a
# nucleus.
MAX_BINS = 500
MIN_BIN_UM = 10.0
SIGMA_BINS = 5.0  # of the smoothing: 50 µm in an image, 1 % of the side of a slide


class CellStatistics:
    """What a report says of the nuclei of a slide, gathered table by table.

    Its size does not grow with the number of nuclei.

    Args:
        info: The image or slide.

    Attributes:
        counts: (C,) int64, nuclei per class.
        area_sums: (C,) float64, summed area of the nuclei, µm².
        area_bins: (C, AREA_BINS) int64, nuclei per class and area, in steps of
            AREA_STEP_UM2.
        grid: (C, rows, columns) int32, nuclei per class and place; the grid covers the
            whole slide.
        sample: Some nuclei of each class.
    """

    def __init__(self, info: SlideInfo) -> None:
        num_classes = len(info.classes)
        self.info = info
        self.counts = np.zeros(num_classes, np.int64)
        self.area_sums = np.zeros(num_classes)
        self.area_bins = np.zeros((num_classes, AREA_BINS), np.int64)
        self.grid = np.zeros(
            (num_classes, *grid_shape(info.shape, info.mpp)), np.int32)
        self.sample = CellSample(num_classes, SAMPLE_SIZE)
        sides = np.ceil(np.array(info.shape) * info.mpp / TISSUE_SQUARE_UM)
        self._tissue = np.zeros(sides.astype(int), bool)

    def add(self, table: CellTable) -> None:
        """Counts the nuclei of the next table.

        Raises:
            ValueError: When a class id has no name in `info`.
        """
        if len(table) == 0:
            return
        if table.labels.max() >= len(self.counts):
            raise ValueError(
                f'{self.info.name}: class id {table.labels.max()} in the table of '
                f'nuclei, but only {len(self.counts)} class names, background '
                'included; give the classes of the model that found them')
        areas = shapely.area(ring_polygons(table.outlines)) * self.info.mpp**2
        steps = np.minimum(areas / AREA_STEP_UM2, AREA_BINS - 1).astype(int)
        self.counts += np.bincount(table.labels, minlength=len(self.counts))
        self.area_sums += np.bincount(
            table.labels, weights=areas, minlength=len(self.counts))
        np.add.at(self.area_bins, (table.labels, steps), 1)
        height, width = self.info.shape
        rows, cols = self.grid.shape[1:]
        place = _find_bins(table.centroids, (height / rows, width / cols), (rows, cols))
        np.add.at(self.grid, (table.labels, *place), 1)
        square = TISSUE_SQUARE_UM / self.info.mpp
        self._tissue[_find_bins(
            table.centroids, (square, square), self._tissue.shape)] = True
        self.sample.add(table)

    @property
    def found_labels(self) -> list[int]:
        """The classes that have nuclei."""
        return [label for label, count in enumerate(self.counts) if label and count]

    @property
    def tissue_mm2(self) -> float:
        """Area of the squares of TISSUE_SQUARE_UM that hold a nucleus, mm².

        Squares at the right and lower border count as far as the slide reaches.
        """
        heights, widths = (
            np.minimum(TISSUE_SQUARE_UM, side * self.info.mpp - np.arange(num)
                       * TISSUE_SQUARE_UM)
            for side, num in zip(self.info.shape, self._tissue.shape, strict=True))
        return float(heights @ self._tissue @ widths) * 1e-6

    @property
    def sigma_um(self) -> float:
        """Sigma of the smoothing of the density, µm."""
        bin_px = max(self.info.shape) / max(self.grid.shape[1:])
        return SIGMA_BINS * bin_px * self.info.mpp

    def density(self, label: int | None) -> np.ndarray:
        """Returns the nuclei of a class, or of all, per mm², (rows, columns) float."""
        counts = self.grid[1:].sum(axis=0) if label is None else self.grid[label]
        slide_mm2 = np.prod(self.info.shape) * self.info.mpp**2 * 1e-6
        return smooth_density(counts, slide_mm2 / counts.size)


class CellSample:
    """A few nuclei of every class, drawn at random from a stream of unknown length.

    Each nucleus draws a number; a class keeps the nuclei with the smallest (Efraimidis
    and Spirakis, Inf Process Lett 97, 2006, with equal weights). So the sample depends
    on the order of the nuclei, but not on how the stream is cut into tables.

    Args:
        num_classes: Number of classes, background included.
        size: Nuclei kept per class.
        seed: The same seed and stream give the same sample.
    """

    def __init__(self, num_classes: int, size: int, seed: int = 0) -> None:
        self.size = size
        self._rng = np.random.default_rng(seed)
        self._kept = [[] for _ in range(num_classes)]

    def add(self, table: CellTable) -> None:
        """Takes its share of the next nuclei of the stream."""
        keys = self._rng.random(len(table))
        for label, kept in enumerate(self._kept):
            rows = np.flatnonzero(table.labels == label)
            rows = rows[np.argsort(keys[rows])[:self.size]]
            new = [(keys[row], tuple(table.centroids[row]), table.outlines[row].copy())
                   for row in rows]
            self._kept[label] = heapq.nsmallest(
                self.size, kept + new, key=lambda cell: cell[0])

    def cells(self, label: int) -> list[tuple[tuple[float, float], np.ndarray]]:
        """Returns centroid (x, y) px and outline (K, 2) (x, y) px of each nucleus."""
        return [cell[1:] for cell in self._kept[label]]


def grid_shape(shape: tuple[int, int], mpp: float) -> tuple[int, int]:
    """Returns (rows, columns) of the density of a slide of (height, width) px."""
    size = max(MIN_BIN_UM / mpp, max(shape) / MAX_BINS)
    return tuple(max(1, round(side / size)) for side in shape)


def smooth_density(counts: np.ndarray, bin_mm2: float) -> np.ndarray:
    """Smooths nuclei per bin to nuclei per mm².

    At the border of the slide the mean is taken over the part that lies inside.

    Args:
        counts: (rows, columns) integer, nuclei per bin.
        bin_mm2: Area of a bin, mm².

    Returns:
        (rows, columns) float64, nuclei per mm².
    """
    inside = gaussian_filter(np.ones(counts.shape), SIGMA_BINS, mode='constant')
    smooth = gaussian_filter(counts.astype(float), SIGMA_BINS, mode='constant')
    return smooth / inside / bin_mm2


def _find_bins(points: np.ndarray, size: tuple[float, float],
               shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows and columns of points (x, y) px in a grid of (height, width) bins.

    `size` is that of a bin in px, (height, width); outer points go to the last bin.
    """
    cells = (points[:, ::-1] / size).astype(int)
    return tuple(np.clip(cells, 0, np.array(shape) - 1).T)
