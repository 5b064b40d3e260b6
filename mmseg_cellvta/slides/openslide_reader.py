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

BLOCK_PX = 256  # side of the blocks in which some levels are read, see _read_inside


class OpenSlideReader(SlideReader):
    """Reader of what OpenSlide reads: svs, ndpi, mrxs, scn, bif, vms, tiled TIFF, ...

    Args:
        path: Slide file.
        mpp: Size of a pixel of level 0, µm; None for what the file states.

    Raises:
        UnreadableError: When OpenSlide does not read the file.
        ValueError: When the pixels are not square.
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
        """Reads in fixed blocks where the downsampling of the level is not whole.

        OpenSlide takes the corner in px of level 0. In such levels it falls between two
        pixels and OpenSlide interpolates: a pixel would depend on the corner.
        """
        downsample = self._handle.get().level_downsamples[level]
        if downsample.is_integer():
            return self._read_region(level, x, y, width, height)
        left, top = x // BLOCK_PX, y // BLOCK_PX
        right, bottom = (math.ceil(end / BLOCK_PX) for end in (x + width, y + height))
        blocks = [[
            self._read_region(level, col * BLOCK_PX, row * BLOCK_PX, BLOCK_PX, BLOCK_PX)
            for col in range(left, right)] for row in range(top, bottom)]
        image = np.block([[[block] for block in row] for row in blocks])
        x, y = x - left * BLOCK_PX, y - top * BLOCK_PX
        return image[y:y + height, x:x + width]

    def _read_region(self, level: int, x: int, y: int, width: int,
                     height: int) -> np.ndarray:
        slide = self._handle.get()
        downsample = slide.level_downsamples[level]
        corner = round(x * downsample), round(y * downsample)
        region = slide.read_region(corner, level, (width, height))
        return white_where_transparent(np.asarray(region))

    def close(self) -> None:
        self._handle.close()
