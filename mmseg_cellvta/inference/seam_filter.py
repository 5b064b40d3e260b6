# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import shapely
from scipy.spatial import cKDTree

from ..structures.cell_table import CellTable, ring_polygons

REACH_UM = 4.0  # centres of one nucleus in two windows do not lie farther apart
MIN_SHARED = 0.5  # of the smaller outline, from which on two nuclei are the same


class SeamFilter:
    """Keeps one of the nuclei that two windows or bands have both found.

    Two nuclei are the same if their outlines share more than half of the smaller one;
    the one that comes first stays. Bands come from top to bottom.

    Args:
        mpp (float): Size of a pixel of level 0, µm.
    """

    def __init__(self, mpp: float) -> None:
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
        self.before = kept
        return kept

    def _same(self, table: CellTable) -> np.ndarray:
        """Pairs of rows (K, 2) that are one nucleus, ordered, the smaller row first."""
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
