# Copyright (c) CellVTA-MMSeg contributors.
import heapq

import numpy as np

from ..structures.cell_table import CellTable


class CellSample:
    """A few nuclei of every class, drawn at random from a stream of unknown length.

    Each nucleus draws a number; a class keeps the nuclei with the smallest (Efraimidis
    and Spirakis, Inf Process Lett 97, 2006, with equal weights). So the sample depends
    on the order of the nuclei, but not on how the stream is cut into tables.

    Args:
        num_classes (int): Number of classes, background included.
        size (int): Nuclei kept per class.
        seed (int): The same seed and stream give the same sample. Defaults to 0.
    """

    def __init__(self, num_classes: int, size: int, seed: int = 0) -> None:
        self.size = size
        self._rng = np.random.default_rng(seed)
        self._kept = [[] for _ in range(num_classes)]

    def add(self, table: CellTable) -> None:
        """Show it the next nuclei of the stream."""
        keys = self._rng.random(len(table))
        for label, kept in enumerate(self._kept):
            rows = np.flatnonzero(table.labels == label)
            rows = rows[np.argsort(keys[rows])[:self.size]]
            new = [(keys[row], tuple(table.centroids[row]), table.outlines[row].copy())
                   for row in rows]
            self._kept[label] = heapq.nsmallest(
                self.size, kept + new, key=lambda cell: cell[0])

    def cells(self, label: int) -> list[tuple[tuple[float, float], np.ndarray]]:
        """(centroid x, y px, outline (K, 2) x, y px) of the nuclei of a class."""
        return [cell[1:] for cell in self._kept[label]]
