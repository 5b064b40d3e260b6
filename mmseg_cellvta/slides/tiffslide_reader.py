# Copyright (c) CellVTA-MMSeg contributors.
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from tiffslide import PROPERTY_NAME_MPP_X, PROPERTY_NAME_MPP_Y, TiffSlide

from .reader import (
    ProcessHandle,
    SlideReader,
    UnreadableError,
    square_mpp,
    white_where_transparent,
)

UM_PER_UNIT = {'nm': 1e-3, 'µm': 1, 'mm': 1e3}  # by name of the unit in OME-XML


class TiffSlideReader(SlideReader):
    """Reader of tiled TIFF and OME-TIFF, also those that OpenSlide does not read.

    Args:
        path: Slide file.
        mpp: Size of a pixel of level 0, µm; None for what the file states.

    Raises:
        UnreadableError: When tiffslide does not read the file, or it is a plain TIFF
            without tiles, which is an image.
        ValueError: When the pixels are not square or not RGB with 8 bits.
    """

    def __init__(self, path: Path, mpp: float | None = None) -> None:
        self._handle = ProcessHandle(_LevelSlide, str(path))
        try:
            slide = self._handle.get()
            tiff = slide.ts_tifffile
            series = tiff.series[0]
            sizes = [slide.properties.get(name)
                     for name in (PROPERTY_NAME_MPP_X, PROPERTY_NAME_MPP_Y)]
            if tiff.is_ome:
                sizes = _ome_mpp(tiff.ome_metadata) or sizes
        except Exception as error:  # tifffile raises many types for a damaged file
            raise UnreadableError(
                f'{path.name}: tiffslide cannot read it ({error})') from error
        if not (tiff.is_ome or series.keyframe.is_tiled):
            self.close()
            raise UnreadableError(f'{path.name}: not a slide, its TIFF has no tiles')
        if series.dtype != np.uint8 or series.keyframe.samplesperpixel not in (3, 4):
            raise ValueError(
                f'{path.name}: {series.keyframe.samplesperpixel} channels of '
                f'{series.dtype}; expected RGB with 8 bits per channel; export it so')
        if mpp is None:
            mpp = square_mpp(path.name, *sizes)
        level_shapes = [(height, width) for width, height in slide.level_dimensions]
        super().__init__(path.name, level_shapes, mpp)

    def _read_inside(self, level: int, x: int, y: int, width: int,
                     height: int) -> np.ndarray:
        image = self._handle.get().read_region(
            (x, y), level, (width, height), as_array=True)
        return white_where_transparent(image) if image.shape[2] == 4 else image

    def close(self) -> None:
        self._handle.close()


class _LevelSlide(TiffSlide):
    """Takes the corner of a region in px of its level, hence exactly."""

    def _read_region_loc_transform(self, location, level):
        return location


def _ome_mpp(xml: str) -> list[float] | None:
    """Returns width and height of a pixel, µm, by OME-XML, which tiffslide ignores."""
    pixels = ElementTree.fromstring(xml).find('.//{*}Pixels')
    sizes = [(pixels.get(f'PhysicalSize{axis}'), pixels.get(
        f'PhysicalSize{axis}Unit', 'µm')) for axis in 'XY']
    if not all(size and unit in UM_PER_UNIT for size, unit in sizes):
        return None
    return [float(size) * UM_PER_UNIT[unit] for size, unit in sizes]
