# Copyright (c) CellVTA-MMSeg contributors.
"""Cells as Space Ranger and Xenium Ranger (10x Genomics) take them."""
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from ..structures import CellTable, SlideInfo
from .label_image import LABEL_TILE, LabelImageWriter
from .writers import (
    FeatureWriter,
    cell_geometries,
    polygon_texts,
    read_parquet,
    read_parquet_info,
)

CLASSIC_TIFF = 2**32 - 2**25  # bytes
XENIUM_DIGITS = 3  # after the point


class SpaceRangerWriter(FeatureWriter):
    """Polygons for `spaceranger count --custom-segmentation-file`, px of level 0.

    Of cells around nuclei they are the cells. Space Ranger numbers cells in the order
    of the features: number k is its `cellid_00000000k-1`.
    """

    def _features(self, cells: CellTable,
                  first_id: int) -> Iterator[tuple[dict[str, str], dict]]:
        rows = zip(polygon_texts(_whole_cells(cells)), cells.labels, strict=True)
        for cell_id, (polygon, label) in enumerate(rows, start=first_id):
            # No `name`: it would decide which of two overlapping ones counts.
            yield dict(geometry=polygon), dict(
                id=self._uuid(cell_id),
                properties={'cell_id': cell_id, 'class': self.info.classes[label]})


class SpaceRangerMaskWriter(LabelImageWriter):
    """The same as a label image for the same option: one page, uint32, 0 background.

    Where polygons overlap the later one counts, as for Space Ranger.
    """

    def _write(self, cells: CellTable, first_id: int) -> None:
        for cell_id, ring in enumerate(_whole_cells(cells), start=first_id):
            self._draw(ring, cell_id, over=True)

    def _finish(self) -> None:
        with tifffile.TiffWriter(
                self.part, bigtiff=self.labels.nbytes > CLASSIC_TIFF) as tiff:
            tiff.write(
                self._tiles(), shape=self.labels.shape, dtype=np.uint32,
                tile=(LABEL_TILE, LABEL_TILE), compression='zlib', software=False,
                metadata=None)


class XeniumWriter(FeatureWriter):
    """Cells and nuclei for `xeniumranger import-segmentation`.

    Xenium Ranger reads `nucleusGeometry` for its `--nuclei` and `geometry` for its
    `--cells`; of nuclei alone `geometry`. It stumbles over triangles: a cell that is
    one, or whose nucleus is, is left out.

    Args:
        path: Target file; its folder must exist.
        info: The image or slide that the cells were found on.
        transform: (3, 3) matrix by which (x, y, 1) px of level 0 are multiplied; None
            leaves them.

    Attributes:
        num_written: Cells that are in the file.
    """

    def __init__(self, path: Path, info: SlideInfo,
                 transform: np.ndarray | None = None) -> None:
        super().__init__(path, info)
        self.transform = transform
        self.num_written = 0

    def _features(self, cells: CellTable,
                  first_id: int) -> Iterator[tuple[dict[str, str], dict]]:
        if self.transform is not None:
            cells = replace(
                cells, outlines=_transform(cells.outlines, self.transform),
                cell_outlines=cells.cell_outlines and _transform(
                    cells.cell_outlines, self.transform))
        rings = zip(cells.outlines, _whole_cells(cells), strict=True)
        rows = zip(cell_geometries(cells), cells.labels, rings, strict=True)
        for cell_id, (geometries, label, outlines) in enumerate(rows, start=first_id):
            if min(map(len, outlines)) <= 4:
                continue
            self.num_written += 1
            yield geometries, dict(
                id=self._uuid(cell_id),
                properties=dict(
                    objectType='cell', cell_id=cell_id,
                    classification=dict(
                        name=self.info.classes[label],
                        color=[int(value) for value in self.info.palette[label]])))


def export_xenium(parquet: Path, out: Path, transform: Path | None = None,
                  scale: float = 1.0) -> int:
    """Writes the cells of a Parquet file for Xenium Ranger.

    Args:
        parquet: File of `GeoParquetWriter`.
        out: Target file; its folder must exist.
        transform: See `read_transform`; None where both images have the same pixels.
        scale: By which px of the Xenium image are multiplied: its µm/px for µm.

    Returns:
        Number of cells in the file.

    Raises:
        ValueError: When a file is not what it should be.
    """
    info, tables = read_parquet_info(parquet), read_parquet(parquet)
    if info is None or tables is None:
        raise ValueError(
            f'{parquet}: is no file that tools/infer.py wrote, or was changed since')
    matrix = np.eye(3) if transform is None else read_transform(transform)
    with XeniumWriter(out, info, np.diag([scale, scale, 1]) @ matrix) as writer:
        for table in tables:
            writer.write(table)
    return writer.num_written


def read_transform(path: Path) -> np.ndarray:
    """Reads the (3, 3) matrix of an image alignment that Xenium Explorer exports.

    Raises:
        ValueError: When the file is not three rows of three numbers, the last 0, 0, 1.
    """
    try:
        matrix = np.array([line.split(',') for line in path.read_text().split()], float)
    except ValueError:
        matrix = np.zeros(0)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or (
            matrix[2] != (0, 0, 1)).any() or not np.linalg.det(matrix):
        raise ValueError(
            f'{path}: expected three rows of three numbers with commas, the last '
            '0,0,1: the image alignment that Xenium Explorer exports')
    return matrix


def _whole_cells(cells: CellTable) -> list[np.ndarray]:
    return cells.outlines if cells.cell_outlines is None else cells.cell_outlines


def _transform(rings: list[np.ndarray], matrix: np.ndarray) -> list[np.ndarray]:
    return [np.round(ring @ matrix[:2, :2].T + matrix[:2, 2], XENIUM_DIGITS)
            for ring in rings]
