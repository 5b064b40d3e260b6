# Copyright (c) CellVTA-MMSeg contributors.
import csv
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..structures import CellTable
from ..structures.geojson import probability_columns
from .cell_writer import CellWriter


class CsvWriter(CellWriter):
    """Centres of the cells, their classes and measurements, a line per cell."""

    def _open(self, path: Path, stack: ExitStack) -> None:
        file = stack.enter_context(open(path, 'w', newline='', encoding='utf-8'))
        self.csv = csv.writer(file, lineterminator='\n')
        self.header = None

    def _write(self, cells: CellTable, first_id: int) -> None:
        x_px, y_px = np.round(cells.centroids, 2).T
        columns = dict(
            x_px=x_px, y_px=y_px, x_um=x_px * self.info.mpp, y_um=y_px * self.info.mpp)
        columns |= probability_columns(
            self.info.classes, cells.scores, cells.class_probs)
        columns |= cells.features
        self._write_header(list(columns))
        values = np.round(np.stack(list(columns.values())).astype(np.float64), 4)
        for cell_id, label, row in zip(
                range(first_id, first_id + len(cells)), cells.labels,
                values.T.tolist(), strict=True):
            self.csv.writerow([cell_id, self.info.classes[label], *row])

    def _finish(self) -> None:
        self._write_header([])

    def _write_header(self, names: list[str]) -> None:
        if self.header is None:
            self.header = ['cell_id', 'class', *names]
            self.csv.writerow(self.header)
