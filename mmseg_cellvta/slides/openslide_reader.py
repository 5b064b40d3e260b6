# Copyright (c) CellVTA-MMSeg contributors.
import math
from pathlib import Path

import numpy as np
import openslide

from .reader import (
    ProcessHandle,
    SlideReader,
    UnreadableError,
    square_mpp,
    white_where_transparent,
)

BLOCK = 256  # px of a level, see _read_inside


class OpenSlideReader(SlideReader):
    """Reads what OpenSlide reads: svs, ndpi, mrxs, scn, bif, vms, tiled TIFF, ...

    Args:
        path (Path): The file.
        mpp (float, optional): Size of a pixel of level 0, µm, instead of the file's.

    Raises:
        UnreadableError: If OpenSlide does not take the file.
        ValueError: If the file's pixels are not square.
    """

    def __init__(self, path: Path, mpp: float | None = None) -> None:
        self._handle = ProcessHandle(openslide.OpenSlide, str(path))
        try:
            slide = self._handle.get()
        except openslide.OpenSlideError as error:
            raise UnreadableError(
                f'{path.name}: OpenSlide cannot read it ({error})') from error
        if slide.properties.get('tiff.ImageDescription', '').endswith('OME>'):
            self.close()
            raise UnreadableError(f'{path.name}: OpenSlide does not see the levels of '
                                  'an OME-TIFF')
        if mpp is None:
            mpp = square_mpp(path.name, *(
                float(slide.properties.get(name, 0)) for name in
                (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)))
        level_shapes = [(height, width) for width, height in slide.level_dimensions]
        super().__init__(path.name, level_shapes, mpp)

    def _read_inside(self, level: int, x: int, y: int, width: int,
                     height: int) -> np.ndarray:
        """Read in fixed blocks where the factor of the level is no whole number.

        OpenSlide takes the corner in px of level 0, which there falls between pixels of
        the level, and then interpolates: a pixel would depend on the corner.
        """
        downsample = self._handle.get().level_downsamples[level]
        if downsample.is_integer():
            return self._read_region(level, x, y, width, height)
        left, top = x // BLOCK, y // BLOCK
        right, bottom = math.ceil((x + width) / BLOCK), math.ceil((y + height) / BLOCK)
        blocks = [[self._read_region(level, col * BLOCK, row * BLOCK, BLOCK, BLOCK)
                   for col in range(left, right)] for row in range(top, bottom)]
        picture = np.block([[[block] for block in row] for row in blocks])
        x, y = x - left * BLOCK, y - top * BLOCK
        return picture[y:y + height, x:x + width]

    def _read_region(self, level: int, x: int, y: int, width: int,
                     height: int) -> np.ndarray:
        slide = self._handle.get()
        downsample = slide.level_downsamples[level]
        corner = round(x * downsample), round(y * downsample)
        region = slide.read_region(corner, level, (width, height))
        return white_where_transparent(np.asarray(region))

    def close(self) -> None:
        self._handle.close()
