# Copyright (c) CellVTA-MMSeg contributors.
"""Cells as an image whose pixels are their ids."""
import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import tifffile

from ..structures import CellTable
from .writers import UUID_NAMESPACE, CellWriter

LABEL_TILE = 512  # px, side of a tile


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

    def _draw(self, ring: np.ndarray, cell_id: int, over: bool = False) -> None:
        height, width = self.info.shape
        left, top = np.maximum(np.floor(ring.min(axis=0)), 0).astype(int)
        right, low = np.minimum(
            np.ceil(ring.max(axis=0)), (width, height)).astype(int)
        if right <= left or low <= top:
            return
        window = self.labels[top:low, left:right]
        inside = _inside(ring - (left, top), *window.shape)
        window[inside if over else inside & (window == 0)] = cell_id

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
