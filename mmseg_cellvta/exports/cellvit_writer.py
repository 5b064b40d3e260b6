# Copyright (c) CellVTA-MMSeg contributors.
import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..structures import CellTable
from .cell_writer import CellWriter


class CellVitWriter(CellWriter):
    """The ``cells.json`` that scripts written for CellViT read.

    Cells have `bbox` [[row, col], [row, col]], `centroid` [x, y] and `contour` in px of
    level 0, `type` and `type_prob`. What describes CellViT's own patches is left out.
    """

    def _open(self, path: Path, stack: ExitStack) -> None:
        self.file = stack.enter_context(open(path, 'w', encoding='utf-8'))
        info = self.info
        head = dict(
            wsi_metadata=dict(
                name=info.name, height=info.shape[0], width=info.shape[1],
                base_mpp=info.mpp),
            type_map={str(index): name for index, name in enumerate(info.classes)})
        self.file.write(json.dumps(head)[:-1] + ', "cells": [\n')

    def _write(self, cells: CellTable, first_id: int) -> None:
        columns = zip(cells.outlines, np.round(cells.centroids, 2).tolist(),
                      cells.labels.tolist(), cells.scores.tolist(), strict=True)
        for cell_id, (ring, centroid, label, score) in enumerate(columns, first_id):
            if cell_id > 1:
                self.file.write(',\n')
            corners = np.stack([ring.min(axis=0), ring.max(axis=0)])[:, ::-1]
            self.file.write(json.dumps(dict(
                bbox=corners.tolist(), centroid=centroid, contour=ring[:-1].tolist(),
                type_prob=round(score, 4), type=label)))

    def _finish(self) -> None:
        self.file.write('\n]}\n')
