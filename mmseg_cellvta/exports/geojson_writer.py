# Copyright (c) CellVTA-MMSeg contributors.
import gzip
import io
import json
import uuid
from contextlib import ExitStack
from pathlib import Path

from ..structures import CellTable
from ..structures.geojson import BETWEEN, HEAD, TAIL, make_features, probability_columns
from .cell_writer import NAMESPACE, CellWriter


class GeoJsonWriter(CellWriter):
    """QuPath detections, one feature per cell, in px of level 0 (RFC 7946).

    A path that ends with ``.gz`` is compressed. Ids are the same for the same slide
    name and number.
    """

    def _open(self, path: Path, stack: ExitStack) -> None:
        file = stack.enter_context(open(path, 'wb'))
        if path.suffix == '.gz':
            # Neither name nor time: equal cells make equal files.
            file = stack.enter_context(
                gzip.GzipFile('', 'wb', compresslevel=6, fileobj=file, mtime=0))
        self.file = stack.enter_context(io.TextIOWrapper(file, encoding='utf-8'))
        self.file.write(HEAD)

    def _write(self, cells: CellTable, first_id: int) -> None:
        info = self.info
        measurements = {**probability_columns(
            info.classes, cells.scores, cells.class_probs), **cells.features}
        features = make_features(
            cells.outlines, cells.labels, measurements, info.classes, info.palette)
        for cell_id, feature in enumerate(features, start=first_id):
            if cell_id > 1:
                self.file.write(BETWEEN)
            name = f'{info.name}/{cell_id}'
            self.file.write(json.dumps(
                dict(feature, id=str(uuid.uuid5(NAMESPACE, name)))))

    def _finish(self) -> None:
        self.file.write(TAIL)
