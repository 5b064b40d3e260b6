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

MICROMETRES = {'nm': 1e-3, 'µm': 1, 'mm': 1e3}  # by name of the unit in OME-XML


class TiffSlideReader(SlideReader):
    """Reads tiled TIFF and OME-TIFF, also those that OpenSlide does not take.

    Args:
        path (Path): The file.
        mpp (float, optional): Size of a pixel of level 0, µm, instead of the file's.

    Raises:
        UnreadableError: If tiffslide does not take the file, or it is a plain TIFF
            without tiles, which is a picture.
        ValueError: If the pixels are not square or not RGB with 8 bits.
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
        picture = self._handle.get().read_region(
            (x, y), level, (width, height), as_array=True)
        if picture.shape[2] == 4:
            return white_where_transparent(picture)
        return picture

    def close(self) -> None:
        self._handle.close()


class _LevelSlide(TiffSlide):
    """Takes the corner of a region in px of its level, hence exactly."""

    def _read_region_loc_transform(self, location, level):
        return location


def _ome_mpp(xml: str) -> list[float] | None:
    """Width and height of a pixel, µm, which tiffslide does not look for in OME-XML."""
    pixels = ElementTree.fromstring(xml).find('.//{*}Pixels')
    sizes = [(pixels.get(f'PhysicalSize{axis}'), pixels.get(
        f'PhysicalSize{axis}Unit', 'µm')) for axis in 'XY']
    if not all(size and unit in MICROMETRES for size, unit in sizes):
        return None
    return [float(size) * MICROMETRES[unit] for size, unit in sizes]
