# Copyright (c) CellVTA-MMSeg contributors.
"""From the maps of a window of a slide to its nuclei, each once (plain numpy)."""
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import shapely
from scipy.spatial import cKDTree

from ..post_processing.expansion import expand_nuclei, trace_cells, trace_nuclei
from ..post_processing.instance_map import HoverConstants
from ..post_processing.instances import (
    TOKEN_STRIDE,
    cell_tokens,
    find_nuclei,
    measure_cytoplasm,
    measure_nuclei,
)
from ..structures.cell_table import CellTable, nucleus_outlines, ring_polygons
from ..structures.shared_outlines import shared_outlines

# A nucleus whose centre lies so near to the window's own part is found by two windows,
# so that none is lost where they disagree a little; SeamFilter keeps one of them.
SLACK_UM = 2.0
REACH_UM = 4.0  # centres of one nucleus in two windows do not lie farther apart
LARGE_UM = 30.0  # twice what a nucleus reaches from its centre
MIN_SHARED = 0.5  # of the smaller outline, from which on two nuclei are the same


class Window(NamedTuple):
    """Part of a slide at the network's scale, in px.

    Attributes:
        seen: x1, y1, x2, y2 of the maps, maximum exclusive.
        own: The same of the part that it answers for.
        num_maps: 4 + C.
        token_dims: D, channels of the tokens.
    """

    seen: tuple[int, int, int, int]
    own: tuple[int, int, int, int]
    num_maps: int
    token_dims: int

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of what it sees."""
        left, top, right, bottom = self.seen
        return bottom - top, right - left

    def arrays(self, memory: memoryview) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lays maps (4 + C, h, w) float16, pixels (h, w, 3) uint8 RGB and tokens (D,
        h / 16, w / 16) float16, rounded up, one behind the other into memory."""
        height, width = self.shape
        shapes = (
            ((self.num_maps, height, width), np.float16),
            ((self.token_dims, -(-height // TOKEN_STRIDE), -(-width // TOKEN_STRIDE)),
             np.float16), ((height, width, 3), np.uint8))
        arrays, offset = [], 0
        for shape, dtype in shapes:
            array = np.frombuffer(memory, dtype, int(np.prod(shape)), offset)
            arrays.append(array.reshape(shape))
            offset += array.nbytes
        maps, tokens, pixels = arrays
        return maps, pixels, tokens

    @property
    def num_bytes(self) -> int:
        """Bytes that its arrays take."""
        height, width = self.shape
        num_tokens = -(-height // TOKEN_STRIDE) * -(-width // TOKEN_STRIDE)
        return (height * width * (2 * self.num_maps + 3)
                + num_tokens * 2 * self.token_dims)


class NucleusSettings(NamedTuple):
    """How nuclei are found and measured.

    Attributes:
        constants: `HoverConstants`, sizes in px of the enlarged maps.
        enlarge: Times that the maps are enlarged before.
        mpp: Resolution of the maps, µm/px.
        scale: (x, y) px of level 0 per px of the maps.
        expand_um: How far cells reach from their nuclei, µm; None for nuclei only.
    """

    constants: HoverConstants
    enlarge: int
    mpp: float
    scale: tuple[float, float]
    expand_um: float | None = None


def find_window_cells(maps: np.ndarray, image: np.ndarray, tokens: np.ndarray,
                      window: Window, settings: NucleusSettings) -> CellTable:
    """Finds the nuclei whose centre lies in the window's own part or very near to it.

    Args:
        maps: (4 + C, h, w) float16 or float32: NP probabilities, HV values
            (x first), NC probabilities.
        image: (h, w, 3) uint8 RGB, the same place.
        tokens: (D, h / 16, w / 16) float16, the same place, rounded up;
            D is 0 where cells are not to be described by them.
        window: Where that is.
        settings: How to find them.

    Returns:
        Nuclei in px of level 0, in the order in which they were found.
    """
    enlarge, corner = settings.enlarge, np.array(window.seen[:2])

    def is_near(centroids: np.ndarray) -> np.ndarray:
        places = _slide_places(centroids, corner, enlarge)
        return _is_near(places, window.own, SLACK_UM / settings.mpp)

    inst_map, found, everything, pixels = find_nuclei(
        maps[:2], maps[2:4], maps[4:], settings.constants, enlarge, is_near)
    if enlarge > 1:
        image = cv2.resize(image, None, fx=enlarge, fy=enlarge)
    scale, mpp = np.array(settings.scale), settings.mpp / enlarge
    place = dict(offset=tuple(corner * enlarge), scale=tuple(scale / enlarge))
    features = measure_nuclei(inst_map, image, mpp, pixels)
    if settings.expand_um is None:
        outlines = dict(outlines=nucleus_outlines(found['contours'], **place))
    else:
        distance, bboxes = settings.expand_um / mpp, found['bboxes']
        seeds = -everything
        np.copyto(seeds, inst_map, where=inst_map > 0)
        nuclei = trace_nuclei(seeds, found['contours'], bboxes, pixels.areas)
        cell_map = expand_nuclei(seeds, distance)
        cells = trace_cells(seeds, cell_map, nuclei, bboxes, distance)
        outlines = dict(outlines=shared_outlines(nuclei, **place),
                        cell_outlines=shared_outlines(cells, **place))
        features |= measure_cytoplasm(everything, cell_map, image, mpp)
    return CellTable(
        centroids=_slide_places(found['centroids'], corner, enlarge) * scale,
        labels=found['labels'],
        scores=found['scores'],
        class_probs=found['class_probs'],
        features=features,
        embeddings=cell_tokens(tokens, found['bboxes'] / enlarge)
        if len(tokens) else None,
        **outlines)


def find_cells(memory: memoryview, window: Window,
               settings: NucleusSettings) -> CellTable:
    """Finds the nuclei of a window whose arrays lie in memory; see `Window.arrays`."""
    return find_window_cells(*window.arrays(memory), window, settings)


def no_cells(num_maps: int, token_dims: int, settings: NucleusSettings) -> CellTable:
    """Returns a table without rows but with all columns."""
    window = Window((0, 0, 16, 16), (0, 0, 16, 16), num_maps, token_dims)
    return find_cells(memoryview(bytes(window.num_bytes)), window, settings)


def _slide_places(centroids: np.ndarray, corner: np.ndarray,
                  enlarge: int) -> np.ndarray:
    """Turns places in enlarged maps (N, 2) into px of the maps from the slide's corner.

    A pixel's centre lies half a pixel from its corner.
    """
    return (centroids.astype(np.float64) + 0.5) / enlarge + corner


def _is_near(centroids: np.ndarray, own: tuple, slack: float) -> np.ndarray:
    """Tells which points (N, 2) lie in a rectangle x1, y1, x2, y2 grown by `slack`."""
    low, high = np.array(own[:2]) - slack, np.array(own[2:]) + slack
    return ((centroids >= low) & (centroids < high)).all(axis=1)


class SeamFilter:
    """Keeps one of the nuclei that two windows or bands have both found.

    Two nuclei are the same if their outlines share more than half of the smaller one;
    the one that comes first stays. Bands come from top to bottom. Cells of two bands do
    not overlap, see `without_overlap`.

    Args:
        mpp: Size of a pixel of level 0, µm.
    """

    def __init__(self, mpp: float) -> None:
        self.mpp = mpp
        self.reach = REACH_UM / mpp
        self.before = None

    def __call__(self, band: CellTable) -> CellTable:
        """Returns the nuclei of a band that were not there yet."""
        known = 0 if self.before is None else len(self.before)
        both = band if not known else CellTable.concatenate([self.before, band])
        dropped = np.zeros(len(both), bool)
        for first, second in self._same(both):
            if not dropped[first]:
                dropped[second] = True
        kept = band.select(~dropped[known:])
        if known:
            kept = without_overlap(self.before, kept, self.mpp)
        self.before = kept
        return kept

    def _same(self, table: CellTable) -> np.ndarray:
        """Returns pairs of rows (K, 2) of one nucleus, in order, the smaller first."""
        if len(table) < 2:
            return np.zeros((0, 2), int)
        pairs = cKDTree(table.centroids).query_pairs(self.reach, output_type='ndarray')
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        involved, rows = np.unique(pairs, return_inverse=True)
        polygons = ring_polygons([table.outlines[row] for row in involved])
        first, second = polygons[rows.reshape(-1, 2)].T
        smaller = np.minimum(shapely.area(first), shapely.area(second))
        shared = shapely.area(shapely.intersection(first, second))
        return pairs[shared > MIN_SHARED * smaller]


def without_overlap(first: CellTable, second: CellTable, mpp: float) -> CellTable:
    """Leaves out the cells of a window or band that overlap those of another.

    Only those of nuclei of over LARGE_UM can, on which windows may disagree because
    none sees them as a whole.

    Args:
        first: Cells that stay.
        second: Cells of another window or band.
        mpp: Size of a pixel of level 0, µm.

    Returns:
        What stays of `second`.
    """
    if first.cell_outlines is None or not (len(first) and len(second)):
        return second
    boxes, large = zip(*((_boxes(table.cell_outlines), np.ptp(
        _boxes(table.outlines), axis=1).max(axis=1) * mpp > LARGE_UM)
        for table in (first, second)), strict=True)
    # What lies where the other table has anything.
    rows = [np.flatnonzero(_meet(own, np.stack(
        [other[:, 0].min(axis=0), other[:, 1].max(axis=0)])))
        for own, other in (boxes, boxes[::-1])]
    pairs = _meet(boxes[0][rows[0]][:, None], boxes[1][rows[1]])
    pairs &= large[0][rows[0]][:, None] | large[1][rows[1]]
    ones, others = (own[found] for own, found in zip(
        rows, np.nonzero(pairs), strict=True))
    shared = shapely.intersection(
        ring_polygons([first.cell_outlines[row] for row in ones]),
        ring_polygons([second.cell_outlines[row] for row in others]))
    keep = np.ones(len(second), bool)
    keep[others[shapely.area(shared) > 0]] = False
    return second if keep.all() else second.select(keep)


def join_windows(tables: Sequence[CellTable], mpp: float) -> CellTable:
    """Joins the cells of the windows of a band, from left to right; see above."""
    joined = [tables[0]]
    for table in tables[1:]:
        joined.append(without_overlap(joined[-1], table, mpp))
    return CellTable.concatenate(joined)


def _boxes(rings: list[np.ndarray]) -> np.ndarray:
    """Returns the corners (N, 2, 2) of rings, the smaller first, as (x, y)."""
    starts = np.cumsum([0, *map(len, rings[:-1])])
    points = np.concatenate(rings)
    return np.stack([np.minimum.reduceat(points, starts),
                     np.maximum.reduceat(points, starts)], axis=1)


def _meet(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Tells which boxes (..., 2, 2) have a common area."""
    return ((boxes[..., 0, :] < others[..., 1, :])
            & (others[..., 0, :] < boxes[..., 1, :])).all(axis=-1)
