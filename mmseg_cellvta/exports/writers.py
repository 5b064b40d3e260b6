# Copyright (c) CellVTA-MMSeg contributors.
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import tifffile

from ..structures import CellTable
from .cell_writer import NAMESPACE, CellWriter

TILE = 512  # px


class LabelImageWriter(CellWriter):
    """A tiled OME-TIFF of the size of level 0 whose pixels are cell ids.

    A pixel belongs to the cell in whose outline its centre lies, to the first one where
    outlines overlap. The picture is drawn in a temporary file beside the target, with 4
    bytes per px of the slide, because TIFF wants its tiles in one go.
    """

    def _open(self, path: Path, stack: ExitStack) -> None:
        self.part = path
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
        with tifffile.TiffWriter(self.part, bigtiff=True, ome=True) as tiff:
            tiff.write(
                self._tiles(), shape=tuple(self.info.shape), dtype=np.uint32,
                tile=(TILE, TILE), compression='zlib', software=False,
                metadata=dict(
                    axes='YX', UUID=f'urn:uuid:{uuid.uuid5(NAMESPACE, self.info.name)}',
                    PhysicalSizeX=self.info.mpp, PhysicalSizeXUnit='µm',
                    PhysicalSizeY=self.info.mpp, PhysicalSizeYUnit='µm'))

    def _tiles(self) -> Iterator[np.ndarray]:
        height, width = self.info.shape
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                tile = np.zeros((TILE, TILE), np.uint32)
                part = self.labels[top:top + TILE, left:left + TILE]
                tile[:part.shape[0], :part.shape[1]] = part
                yield tile


def _inside(ring: np.ndarray, height: int, width: int) -> np.ndarray:
    """Which pixel centres of a (height, width) picture lie in a closed ring, x, y px.

    Even-odd rule along each row of centres; outlines end on multiples of 1/8 px and so
    may run through centres, which then count to the left or upper cell.
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
