# Copyright (c) CellVTA-MMSeg contributors.
"""Cells to files: GeoJSON, GeoParquet, CSV, CellViT's JSON."""
import csv
import gzip
import io
import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from ..structures import CellTable, SlideInfo
from ..structures.cell_table import ring_polygons, split_rings
from ..utils.files import complete_file

# UUIDs of our files are made with it: equal names, equal ids.
UUID_NAMESPACE = uuid.UUID('6d1b8a52-6a3c-5b53-9d38-0d0c0e7e4c11')
GEOJSON_HEAD = '{"type": "FeatureCollection", "features": [\n'
GEOJSON_TAIL = '\n]}\n'
# Without a coordinate system of the earth: px of the slide.
GEOPARQUET_COLUMN = dict(encoding='WKB', geometry_types=['Polygon'], crs=None)
# Columns of outlines, and what a `CellTable` calls them.
GEOMETRIES = dict(geometry='outlines', cell_geometry='cell_outlines')


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


class FeatureWriter(CellWriter):
    """A FeatureCollection (RFC 7946, in pixels instead of degrees), a feature a line.

    A path that ends with `.gz` is compressed.
    """

    def _open(self, path: Path, stack: ExitStack) -> None:
        file = stack.enter_context(open(path, 'wb'))
        if path.suffix == '.gz':
            # Neither name nor time: equal cells make equal files.
            file = stack.enter_context(
                gzip.GzipFile('', 'wb', compresslevel=6, fileobj=file, mtime=0))
        self.file = stack.enter_context(io.TextIOWrapper(file, encoding='utf-8'))
        self.file.write(GEOJSON_HEAD)
        self.separator = ''

    def _write(self, cells: CellTable, first_id: int) -> None:
        for geometries, others in self._features(cells, first_id):
            texts = [f'"{name}": {text}' for name, text in geometries.items()]
            # The rest goes on where the first brace was.
            texts.append(json.dumps(others, allow_nan=False)[1:])
            self.file.write(f'{self.separator}{{"type": "Feature", {", ".join(texts)}')
            self.separator = ',\n'

    def _finish(self) -> None:
        self.file.write(GEOJSON_TAIL)

    @abstractmethod
    def _features(self, cells: CellTable,
                  first_id: int) -> Iterator[tuple[dict[str, str], dict]]:
        """Yields the features of cells with ids from `first_id` on.

        Each is its geometries as JSON, by their names, and its other members.
        """

    def _uuid(self, cell_id: int) -> str:
        """Returns what is the same for the same slide name and number."""
        return str(uuid.uuid5(UUID_NAMESPACE, f'{self.info.name}/{cell_id}'))


def polygon_texts(rings: Sequence[np.ndarray]) -> list[str]:
    """Returns closed rings (K, 2) of (x, y) as GeoJSON; json takes thrice as long."""
    if not len(rings):
        return []
    x, y = (pc.cast(pa.array(np.ascontiguousarray(column)), pa.string())
            for column in np.concatenate(rings).T)
    lists = pa.ListArray.from_arrays(
        np.cumsum([0, *map(len, rings)]).astype(np.int32),
        pc.binary_join_element_wise(x, y, ', '))
    return [f'{{"type": "Polygon", "coordinates": [[[{points}]]]}}'
            for points in pc.binary_join(lists, '], [').to_pylist()]


class GeoJsonWriter(FeatureWriter):
    """QuPath detections, or cells with nuclei, one feature per cell, px of level 0."""

    def _features(self, cells: CellTable,
                  first_id: int) -> Iterator[tuple[dict[str, str], dict]]:
        classifications = [
            dict(name=name, color=[int(value) for value in color])
            for name, color in zip(self.info.classes, self.info.palette, strict=True)]
        measurements = {
            name: np.round(np.asarray(column, np.float64), 4).tolist()
            for name, column in measurement_columns(cells, self.info.classes).items()}
        rows = zip(cell_geometries(cells), cells.labels, *measurements.values(),
                   strict=True)
        for cell_id, (geometries, label, *values) in enumerate(rows, start=first_id):
            yield geometries, dict(
                properties=dict(
                    objectType='cell' if len(geometries) > 1 else 'detection',
                    classification=classifications[label],
                    # JSON knows no NaN, which is the stain of no cytoplasm.
                    measurements={name: value for name, value in zip(
                        measurements, values, strict=True) if value == value}),
                id=self._uuid(cell_id))


def cell_geometries(cells: CellTable) -> Iterator[dict[str, str]]:
    """Yields `geometry` and, of cells around nuclei, `nucleusGeometry` as GeoJSON."""
    nuclei = polygon_texts(cells.outlines)
    if cells.cell_outlines is None:
        return (dict(geometry=nucleus) for nucleus in nuclei)
    return (dict(geometry=cell, nucleusGeometry=nucleus) for cell, nucleus in zip(
        polygon_texts(cells.cell_outlines), nuclei, strict=True))


class GeoParquetWriter(CellWriter):
    """A GeoParquet 1.1 table with a row per cell, in px of level 0.

    The outlines of nuclei are `geometry`, those of cells around them `cell_geometry`.
    Name, size, µm/px, classes and palette of the slide are in the file's metadata under
    `cells`, and the px of the slide from which is counted where that is not (0, 0).
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
            geometry=_to_wkb(cells.outlines),
            x_px=cells.centroids[:, 0], y_px=cells.centroids[:, 1],
            label=cells.labels, **{'class': names})
        columns |= measurement_columns(cells, info.classes)
        geometries = dict(geometry=GEOPARQUET_COLUMN)
        if cells.cell_outlines is not None:
            columns['cell_geometry'] = _to_wkb(cells.cell_outlines)
            geometries['cell_geometry'] = GEOPARQUET_COLUMN
        width = cells.embeddings.shape[1]
        if width:
            columns['embedding'] = pa.FixedSizeListArray.from_arrays(
                pa.array(cells.embeddings.ravel()), width)
        about = dict(name=info.name, shape=info.shape, mpp=info.mpp,
                     classes=info.classes, palette=info.palette)
        if any(info.origin):
            about['origin'] = info.origin
        geo = dict(version='1.1.0', primary_column='geometry', columns=geometries)
        return pa.table(columns).replace_schema_metadata(
            dict(geo=json.dumps(geo), cells=json.dumps(about)))


def _to_wkb(rings: Sequence[np.ndarray]) -> pa.Array:
    return pa.array(shapely.to_wkb(ring_polygons(rings)), pa.binary())


def read_parquet(path: Path, num_cells: int | None = None
                 ) -> Iterator[CellTable] | None:
    """Reads what `GeoParquetWriter` wrote, table by table.

    Args:
        path: A Parquet file.
        num_cells: How many cells it must hold; None for any number.

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
        if not complete or num_cells not in (None, file.metadata.num_rows):
            return None
    except Exception:  # pyarrow and json raise many types for a damaged file
        return None
    return _read_groups(path, file, classes)


def read_parquet_info(path: Path) -> SlideInfo | None:
    """Reads on what the cells of a file of `GeoParquetWriter` were found.

    Returns:
        None when the file is none of it.
    """
    try:
        metadata = pq.ParquetFile(path).schema_arrow.metadata
        return SlideInfo(**json.loads(metadata[b'cells']))
    except Exception:  # pyarrow and json raise many types for another file
        return None


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
               if name not in ('cell_id', 'class', 'embedding', *GEOMETRIES)}
    embeddings = None
    if 'embedding' in table.column_names:
        column = table['embedding'].combine_chunks()
        embeddings = column.flatten().to_numpy().reshape(len(table), -1)
    rings = {field: _from_wkb(table[name]) for name, field in GEOMETRIES.items()
             if name in table.column_names}
    probs = [columns.pop(f'prob_{name}') for name in classes]
    return CellTable(
        centroids=np.stack([columns.pop('x_px'), columns.pop('y_px')], axis=1),
        labels=columns.pop('label'), scores=columns.pop('score'),
        class_probs=np.stack(probs, axis=1),
        features=columns, embeddings=embeddings, **rings)


def _from_wkb(column: pa.ChunkedArray) -> list[np.ndarray]:
    rings = shapely.get_exterior_ring(
        shapely.from_wkb(column.to_numpy(zero_copy_only=False)))
    return split_rings(
        shapely.get_coordinates(rings), shapely.get_num_coordinates(rings))


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


def measurement_columns(cells: CellTable,
                        classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns `score`, `prob_<class>` and the features of N cells, (N,) each."""
    probs = {f'prob_{name}': column
             for name, column in zip(classes, cells.class_probs.T, strict=True)}
    return dict(score=cells.scores) | probs | cells.features
