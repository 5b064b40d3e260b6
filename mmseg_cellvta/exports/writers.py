# Copyright (c) CellVTA-MMSeg contributors.
"""Cells to files: GeoJSON, GeoParquet, CSV, CellViT's JSON, a label image."""
import csv
import errno
import gzip
import io
import json
import os
import shutil
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
import tifffile

from ..structures import CellTable, SlideInfo
from ..structures.cell_table import ring_polygons
from ..utils.files import complete_file

# UUIDs of our files are made with it: equal names, equal ids.
UUID_NAMESPACE = uuid.UUID('6d1b8a52-6a3c-5b53-9d38-0d0c0e7e4c11')
GEOJSON_HEAD = '{"type": "FeatureCollection", "features": [\n'
GEOJSON_TAIL = '\n]}\n'
GEOPARQUET_METADATA = dict(
    version='1.1.0', primary_column='geometry',
    # Without a coordinate system of the earth: px of the slide.
    columns=dict(geometry=dict(encoding='WKB', geometry_types=['Polygon'], crs=None)))
LABEL_TILE = 512  # px, side of a tile of the label image


class CellWriter(ABC):
    """Writes the cells of an image or slide into a file, table after table.

    A context manager: the file appears under its name on a clean exit. Cells are
    numbered from 1 on in the order in which they come, the same in every format.
    Memory does not depend on how many there are.

    Args:
        path: Target file; its folder must exist.
        info: The image or slide that the cells were found on.
    """

    def __init__(self, path: Path, info: SlideInfo) -> None:
        self.path = path
        self.info = info
        self.num_cells = 0

    def __enter__(self) -> 'CellWriter':
        with ExitStack() as stack:
            self._open(stack.enter_context(complete_file(self.path)), stack)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind, error, trace) -> None:
        if error is not None:
            self.stack.__exit__(kind, error, trace)
        else:
            with self.stack:
                self._finish()

    def write(self, cells: CellTable) -> None:
        """Adds cells.

        Raises:
            ValueError: When names, colours and probabilities differ in number.
        """
        info, num_classes = self.info, cells.class_probs.shape[1]
        if not len(info.classes) == len(info.palette) == num_classes:
            raise ValueError(
                f'{info.name}: {len(info.classes)} classes and {len(info.palette)} '
                f'palette colours for nuclei with {num_classes} class probabilities; '
                'expected the same number of each, background included.')
        self._write(cells, first_id=self.num_cells + 1)
        self.num_cells += len(cells)

    @abstractmethod
    def _open(self, path: Path, stack: ExitStack) -> None:
        """Opens the file; what must be closed goes onto the stack."""

    @abstractmethod
    def _write(self, cells: CellTable, first_id: int) -> None:
        """Adds cells with ids from `first_id` on."""

    @abstractmethod
    def _finish(self) -> None:
        """Writes what comes after the last cell."""


class GeoJsonWriter(CellWriter):
    """QuPath detections, one feature per cell, in px of level 0 (RFC 7946).

    A path that ends with `.gz` is compressed. Ids are the same for the same slide name
    and number.
    """

    def _open(self, path: Path, stack: ExitStack) -> None:
        file = stack.enter_context(open(path, 'wb'))
        if path.suffix == '.gz':
            # Neither name nor time: equal cells make equal files.
            file = stack.enter_context(
                gzip.GzipFile('', 'wb', compresslevel=6, fileobj=file, mtime=0))
        self.file = stack.enter_context(io.TextIOWrapper(file, encoding='utf-8'))
        self.file.write(GEOJSON_HEAD)

    def _write(self, cells: CellTable, first_id: int) -> None:
        classifications = [
            dict(name=name, color=[int(value) for value in color])
            for name, color in zip(self.info.classes, self.info.palette, strict=True)]
        measurements = {
            name: np.round(np.asarray(column, np.float64), 4).tolist()
            for name, column in measurement_columns(cells, self.info.classes).items()}
        rows = zip(cells.outlines, cells.labels, *measurements.values(), strict=True)
        for cell_id, (ring, label, *values) in enumerate(rows, start=first_id):
            feature = dict(
                type='Feature',
                geometry=dict(type='Polygon', coordinates=[ring.tolist()]),
                properties=dict(
                    objectType='detection',
                    classification=classifications[label],
                    measurements=dict(zip(measurements, values, strict=True))),
                id=str(uuid.uuid5(UUID_NAMESPACE, f'{self.info.name}/{cell_id}')))
            if cell_id > 1:
                self.file.write(',\n')
            self.file.write(json.dumps(feature))

    def _finish(self) -> None:
        self.file.write(GEOJSON_TAIL)


class GeoParquetWriter(CellWriter):
    """A GeoParquet 1.1 table with a row per cell, in px of level 0.

    Name, size, µm/px, classes and palette of the slide are in the file's metadata under
    `cells`.
    """

    def _open(self, path: Path, stack: ExitStack) -> None:
        self.file = stack.enter_context(open(path, 'wb'))
        self.parquet = None

    def _write(self, cells: CellTable, first_id: int) -> None:
        table = self._to_arrow(cells, first_id)
        if self.parquet is None:  # the columns are known only now
            self.parquet = self.stack.enter_context(pq.ParquetWriter(
                self.file, table.schema, compression='zstd',
                write_page_checksum=True))
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
        columns |= measurement_columns(cells, info.classes)
        width = cells.embeddings.shape[1]
        if width:
            columns['embedding'] = pa.FixedSizeListArray.from_arrays(
                pa.array(cells.embeddings.ravel()), width)
        about = dict(name=info.name, shape=info.shape, mpp=info.mpp,
                     classes=info.classes, palette=info.palette)
        return pa.table(columns).replace_schema_metadata(
            dict(geo=json.dumps(GEOPARQUET_METADATA), cells=json.dumps(about)))


def read_parquet(path: Path, num_cells: int) -> Iterator[CellTable] | None:
    """Reads what `GeoParquetWriter` wrote, table by table.

    Args:
        path: A Parquet file.
        num_cells: How many cells it must hold.

    Returns:
        The tables that were written, without empty ones; one empty table where there
        are no cells. None when the file was changed since. Of damaged cells, iterating
        raises a ValueError.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        classes = json.loads(file.schema_arrow.metadata[b'cells'])['classes']
        known = {'cell_id', 'geometry', 'x_px', 'y_px', 'label', 'class', 'score',
                 *(f'prob_{name}' for name in classes)}
        complete = known <= set(file.schema_arrow.names)
        if not complete or file.metadata.num_rows != num_cells:
            return None
    except Exception:  # pyarrow and json raise many types for a damaged file
        return None
    return _read_groups(path, file, classes)


def _read_groups(path: Path, file: pq.ParquetFile,
                 classes: Sequence[str]) -> Iterator[CellTable]:
    try:
        groups = map(file.read_row_group, range(file.num_row_groups))
        for table in groups if file.metadata.num_rows else [file.read()]:
            yield _from_arrow(table, classes)
    except Exception as error:  # pyarrow and shapely raise many types
        raise ValueError(f'{path}: damaged ({type(error).__name__}); delete it and its '
                         'cells are found again') from error


def _from_arrow(table: pa.Table, classes: Sequence[str]) -> CellTable:
    columns = {name: table[name].to_numpy() for name in table.column_names
               if name not in ('cell_id', 'geometry', 'class', 'embedding')}
    embeddings = None
    if 'embedding' in table.column_names:
        column = table['embedding'].combine_chunks()
        embeddings = column.flatten().to_numpy().reshape(len(table), -1)
    rings = shapely.get_exterior_ring(
        shapely.from_wkb(table['geometry'].to_numpy(zero_copy_only=False)))
    points, owners = shapely.get_coordinates(rings, return_index=True)
    probs = [columns.pop(f'prob_{name}') for name in classes]
    return CellTable(
        centroids=np.stack([columns.pop('x_px'), columns.pop('y_px')], axis=1),
        labels=columns.pop('label'), scores=columns.pop('score'),
        class_probs=np.stack(probs, axis=1),
        outlines=np.split(points, np.flatnonzero(np.diff(owners)) + 1)
        if len(table) else [],
        features=columns, embeddings=embeddings)


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
        columns |= measurement_columns(cells, self.info.classes)
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


class CellVitWriter(CellWriter):
    """The `cells.json` that scripts written for CellViT read.

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


class LabelImageWriter(CellWriter):
    """A tiled OME-TIFF of the size of level 0 whose pixels are cell ids.

    A pixel belongs to the cell in whose outline its centre lies, to the first one where
    outlines overlap. The image is drawn in a temporary file beside the target, with 4
    bytes per px of the slide, because TIFF wants its tiles in one go.
    """

    def _open(self, path: Path, stack: ExitStack) -> None:
        self.part = path
        needed = 4 * int(np.prod(self.info.shape, dtype=np.int64))
        # Writing to mapped memory on a full disk would end the process.
        if shutil.disk_usage(path.parent).free < needed:
            raise OSError(errno.ENOSPC, f'{os.strerror(errno.ENOSPC)}: {needed:,} '
                          'bytes are needed for a while', str(path))
        raw = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
        self.labels = np.memmap(raw, np.uint32, 'w+', shape=tuple(self.info.shape))

    def _write(self, cells: CellTable, first_id: int) -> None:
        for cell_id, ring in enumerate(cells.outlines, start=first_id):
            self._draw(ring, cell_id)

    def _draw(self, ring: np.ndarray, cell_id: int) -> None:
        height, width = self.info.shape
        left, top = np.maximum(np.floor(ring.min(axis=0)), 0).astype(int)
        right, low = np.minimum(
            np.ceil(ring.max(axis=0)), (width, height)).astype(int)
        if right <= left or low <= top:
            return
        window = self.labels[top:low, left:right]
        window[_inside(ring - (left, top), *window.shape) & (window == 0)] = cell_id

    def _finish(self) -> None:
        slide_id = uuid.uuid5(UUID_NAMESPACE, self.info.name)
        with tifffile.TiffWriter(self.part, bigtiff=True, ome=True) as tiff:
            tiff.write(
                self._tiles(), shape=tuple(self.info.shape), dtype=np.uint32,
                tile=(LABEL_TILE, LABEL_TILE), compression='zlib', software=False,
                metadata=dict(
                    axes='YX', UUID=f'urn:uuid:{slide_id}',
                    PhysicalSizeX=self.info.mpp, PhysicalSizeXUnit='µm',
                    PhysicalSizeY=self.info.mpp, PhysicalSizeYUnit='µm'))

    def _tiles(self) -> Iterator[np.ndarray]:
        height, width = self.info.shape
        for top in range(0, height, LABEL_TILE):
            for left in range(0, width, LABEL_TILE):
                tile = np.zeros((LABEL_TILE, LABEL_TILE), np.uint32)
                part = self.labels[top:top + LABEL_TILE, left:left + LABEL_TILE]
                tile[:part.shape[0], :part.shape[1]] = part
                yield tile


def _inside(ring: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns which pixel centres, (height, width) bool, lie in a ring of (x, y) px.

    Even-odd rule along each row of centres; outlines end on multiples of 1/8 px and so
    may run through centres, which then count to the left or upper cell. Three times as
    fast as `skimage.draw.polygon2mask` on nuclei of 24 points.
    """
    centres = np.arange(height) + 0.5
    (x1, y1), (x2, y2) = ring[:-1].T, ring[1:].T
    crosses = (y1 < centres[:, None]) != (y2 < centres[:, None])
    with np.errstate(divide='ignore', invalid='ignore'):
        x = x1 + (centres[:, None] - y1) * (x2 - x1) / (y2 - y1)
    rows, edges = np.nonzero(crosses)
    first = np.clip(np.ceil(x[rows, edges] - 0.5), 0, width).astype(int)
    flips = np.zeros((height, width + 1), np.int32)
    np.add.at(flips, (rows, first), 1)
    return np.cumsum(flips, axis=1)[:, :width] % 2 == 1


def measurement_columns(cells: CellTable,
                        classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns `score`, `prob_<class>` and the features of N cells, (N,) each."""
    probs = {f'prob_{name}': column
             for name, column in zip(classes, cells.class_probs.T, strict=True)}
    return dict(score=cells.scores) | probs | cells.features
