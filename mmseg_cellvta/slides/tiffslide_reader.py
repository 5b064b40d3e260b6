# Copyright (c) CellVTA-MMSeg contributors.
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from tiffslide import (
    PROPERTY_NAME_BOUNDS_HEIGHT,
    PROPERTY_NAME_BOUNDS_WIDTH,
    PROPERTY_NAME_BOUNDS_X,
    PROPERTY_NAME_BOUNDS_Y,
    PROPERTY_NAME_MPP_X,
    PROPERTY_NAME_MPP_Y,
    PROPERTY_NAME_OBJECTIVE_POWER,
    TiffSlide,
)

from ..utils.pixel_size import choose_mpp
from ..utils.tiff_rules import TiffImage, find_tiff_image, is_tiff, on_white
from .reader import ProcessHandle, SlideReader, UnreadableError

MINISWHITE = 0  # PhotometricInterpretation
BOUNDS = (PROPERTY_NAME_BOUNDS_X, PROPERTY_NAME_BOUNDS_Y, PROPERTY_NAME_BOUNDS_WIDTH,
          PROPERTY_NAME_BOUNDS_HEIGHT)


class TiffSlideReader(SlideReader):
    """Reader of tiled TIFF and OME-TIFF, also those that OpenSlide does not read.

    Args:
        path: Slide file.
        mpp: Size of a pixel of level 0, µm; None for what the file states.
        force_mpp: See `open_slide`.
        skip_damaged: See `open_slide`.

    Raises:
        UnreadableError: When tiffslide does not read the file, or it is a plain TIFF
            without tiles, which is an image.
        ValueError: When the pixels are not square or have more than 8 bits, or the file
            holds several images.
    """

    def __init__(self, path: Path, mpp: float | None = None, force_mpp: bool = False,
                 skip_damaged: bool = False) -> None:
        if not is_tiff(path):
            raise UnreadableError(f'{path.name}: tiffslide cannot read it (no TIFF)')
        self._image = find_tiff_image(path, path.name)
        self._image.check_pixels()
        _check_layout(self._image)
        series = None if self._image.is_scanner else self._image.series
        self._handle = ProcessHandle(partial(_LevelSlide, series=series), str(path))
        try:
            slide = self._handle.get()
            properties = slide.properties
            level_shapes = [
                (height, width) for width, height in slide.level_dimensions]
            blocks = _block_shapes(slide)
        except Exception as error:  # tifffile raises many types for a damaged file
            self.close()
            raise UnreadableError(
                f'{path.name}: tiffslide cannot read it ({error})') from error
        sizes, objective = self._image.mpp or (None, None), self._image.objective
        if self._image.is_scanner:
            sizes = [properties.get(name)
                     for name in (PROPERTY_NAME_MPP_X, PROPERTY_NAME_MPP_Y)]
            objective = properties.get(PROPERTY_NAME_OBJECTIVE_POWER) or objective
        mpp, kept = choose_mpp(path.name, mpp, force_mpp, *sizes)
        super().__init__(path.name, level_shapes, mpp, blocks, skip_damaged)
        self.objective = objective
        bounds = [properties.get(name) for name in BOUNDS]
        self.bounds = None if None in bounds else tuple(map(int, bounds))
        self.add_remarks(self._image.remark, kept)

    def _read_inside(self, level: int, x: int, y: int, width: int,
                     height: int) -> np.ndarray:
        pixels = self._handle.get().read_region(
            (x, y), level, (width, height), as_array=True)
        return on_white(pixels, self._image)

    def _open(self) -> None:
        self._handle.get()

    def close(self) -> None:
        self._handle.close()


def _check_layout(image: TiffImage) -> None:
    """Leaves TIFF files to the reader of images that tiffslide reads by other rules.

    Raises:
        UnreadableError: With the reason.
    """
    reason = None
    if not (image.is_ome or image.is_tiled):
        reason = 'not a slide, its TIFF has no tiles'
    elif image.is_scanner:
        return
    elif image.orientation != 1:
        reason = f'tiffslide does not turn slides (orientation {image.orientation})'
    elif image.colours not in ('RGB', 'MINISBLACK', 'MINISWHITE') and not (
            image.colours == 'YCBCR' and image.is_jpeg):
        reason = f'tiffslide does not make RGB of {image.colours}'
    if reason:
        raise UnreadableError(f'{image.name}: {reason}')


def _block_shapes(slide: '_LevelSlide') -> list[tuple[int, int]] | None:
    """Returns (height, width) px of the tiles of each level; None if it is put together
    of several images."""
    if slide.properties.get('tiffslide.series-composition'):
        return None
    axes = slide.properties['tiffslide.series-axes']
    chunks = [slide.zarr_group[str(level)].chunks
              for level in range(slide.level_count)]
    return [(chunk[axes.index('Y')], chunk[axes.index('X')]) for chunk in chunks]


class _LevelSlide(TiffSlide):
    """Takes the corner of a region in px of its level, hence exactly.

    Args:
        path: Slide file.
        series: Which series of its TIFF to read; None leaves that to tiffslide.
    """

    def __init__(self, path: str, series: int | None) -> None:
        super().__init__(path)
        self._series = series
        for images in self.ts_tifffile.series:
            # White where nothing is stored; tiffslide's own would be black.
            inverted = images.keyframe.photometric == MINISWHITE
            images.aszarr = partial(images.aszarr, fillvalue=0 if inverted else 255)

    @cached_property
    def properties(self) -> dict:
        if self._series is None:
            return super().properties
        series = self.ts_tifffile.series[self._series]
        # tiffslide knows planes of channels by the letter C alone.
        axes = series.axes.replace('SYX', 'CYX')
        if axes not in ('YXS', 'CYX', 'YX'):
            raise ValueError(f'axes {axes} of {series.shape}')
        found = {'tiffslide.series-index': self._series, 'tiffslide.series-axes': axes}
        for level, pages in enumerate(series.levels):
            found[f'tiffslide.level[{level}].width'] = pages.keyframe.imagewidth
            found[f'tiffslide.level[{level}].height'] = pages.keyframe.imagelength
        return found

    def _read_region_loc_transform(self, location, level):
        return location
