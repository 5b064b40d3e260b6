# Copyright (c) CellVTA-MMSeg contributors.
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from ..utils.files import complete_file


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
