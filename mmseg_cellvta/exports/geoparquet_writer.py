# Copyright (c) CellVTA-MMSeg contributors.
import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from ..structures import CellTable
from ..structures.geojson import probability_columns
from ..structures.outlines import ring_polygons
from .cell_writer import CellWriter

GEO = dict(
    version='1.1.0', primary_column='geometry',
    # Without a coordinate system of the earth: px of the slide.
    columns=dict(geometry=dict(encoding='WKB', geometry_types=['Polygon'], crs=None)))


class GeoParquetWriter(CellWriter):
    """A GeoParquet 1.1 table with a row per cell, in px of level 0.

    Name, size, µm/px, classes and palette of the slide stand in the file's metadata
    under ``cells``.
    """

    def _open(self, path: Path, stack: ExitStack) -> None:
        self.file = stack.enter_context(open(path, 'wb'))
        self.parquet = None

    def _write(self, cells: CellTable, first_id: int) -> None:
        table = self._to_arrow(cells, first_id)
        if self.parquet is None:  # only now it is known which columns there are
            self.parquet = self.stack.enter_context(pq.ParquetWriter(
                self.file, table.schema, compression='zstd'))
        if len(cells):
            self.parquet.write_table(table)

    def _finish(self) -> None:
        if self.parquet is None:
            self.write(CellTable(
                np.zeros((0, 2)), np.zeros(0, int), np.zeros(0, np.float32),
                np.zeros((0, len(self.info.classes)), np.float32), []))

    def _to_arrow(self, cells: CellTable, first_id: int) -> pa.Table:
        info = self.info
        names = pa.DictionaryArray.from_arrays(
            pa.array(cells.labels, pa.int16()), pa.array(info.classes))
        columns = dict(
            cell_id=np.arange(first_id, first_id + len(cells)),
            geometry=pa.array(
                shapely.to_wkb(ring_polygons(cells.outlines)), pa.binary()),
            x_px=cells.centroids[:, 0], y_px=cells.centroids[:, 1],
            label=cells.labels, **{'class': names})
        columns |= probability_columns(info.classes, cells.scores, cells.class_probs)
        columns |= cells.features
        width = cells.embeddings.shape[1]
        if width:
            columns['embedding'] = pa.FixedSizeListArray.from_arrays(
                pa.array(cells.embeddings.ravel()), width)
        about = dict(name=info.name, shape=info.shape, mpp=info.mpp,
                     classes=info.classes, palette=info.palette)
        return pa.table(columns).replace_schema_metadata(
            dict(geo=json.dumps(GEO), cells=json.dumps(about)))
