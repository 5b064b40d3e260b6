# Copyright (c) CellVTA-MMSeg contributors.
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import openslide

from ..utils.pixel_size import choose_mpp
from ..utils.tiff_rules import TiffImage, find_tiff_image, is_tiff
from .reader import (
    SMALL_BLOCK,
    ProcessHandle,
    SlideReader,
    UnreadableError,
    white_where_transparent,
)

GENERIC = 'generic-tiff'  # OpenSlide's vendor of files that no scanner wrote
LEVEL_TOLERANCE = 0.01  # relative, of the downsampling along x and y
BLOCK_PX = 256  # side of the blocks in which some levels are read, see _read_inside


class OpenSlideReader(SlideReader):
    """Reader of what OpenSlide reads: svs, ndpi, mrxs, scn, bif, vms, tiled TIFF, ...

    Args:
        path: Slide file.
        mpp: Size of a pixel of level 0, µm; None for what the file states.
        force_mpp: See `open_slide`.
        skip_damaged: See `open_slide`.

    Raises:
        UnreadableError: When OpenSlide does not read the file, or not as
            `tiff_rules` say.
        ValueError: When the pixels are not square or have more than 8 bits, or a TIFF
            file holds several images.
    """

    def __init__(self, path: Path, mpp: float | None = None, force_mpp: bool = False,
                 skip_damaged: bool = False) -> None:
        self._handle = ProcessHandle(openslide.OpenSlide, str(path))
        try:
            slide = self._handle.get()
        except openslide.OpenSlideError as error:
            raise UnreadableError(
                f'{path.name}: OpenSlide cannot read it ({error})') from error
        properties = slide.properties
        sizes = [_number(properties, name) for name in (
            openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)]
        objective = _number(properties, openslide.PROPERTY_NAME_OBJECTIVE_POWER)
        remark = None
        if is_tiff(path):
            try:
                generic = properties.get(openslide.PROPERTY_NAME_VENDOR) == GENERIC
                image = find_tiff_image(path, path.name, by_scanner=not generic)
                if generic:
                    _check_layout(image, slide.level_dimensions)
                    sizes, objective = image.mpp or (None, None), image.objective
                    remark = image.remark
                image.check_pixels()
            except ValueError:
                self.close()
                raise
        mpp, kept = choose_mpp(path.name, mpp, force_mpp, *sizes)
        level_shapes = [(height, width) for width, height in slide.level_dimensions]
        self._level_tiles = [
            _tile_shape(properties, level) for level in range(slide.level_count)]
        # What fails as a whole, see _read_inside.
        blocks = [(tile or (SMALL_BLOCK,) * 2) if downsample.is_integer() else
                  (BLOCK_PX,) * 2 for tile, downsample in
                  zip(self._level_tiles, slide.level_downsamples, strict=True)]
        super().__init__(path.name, level_shapes, mpp, blocks, skip_damaged)
        self.objective = objective
        self.bounds = _bounds(properties)
        self.add_remarks(remark, kept)

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

    def _find_damage(self, level: int, row: int, col: int) -> tuple[int, int]:
        """Looks for the damaged tile in a block that is not a tile itself."""
        block, tile = self._level_blocks[level], self._level_tiles[level]
        if tile is None or tile == block:
            return self._place(level, row, col)
        (top, low), (left, right) = (
            (start * side, min((start + 1) * side, whole)) for start, side, whole in
            zip((row, col), block, self.level_shapes[level], strict=True))
        for tile_row in range(top // tile[0], -(-low // tile[0])):
            for tile_col in range(left // tile[1], -(-right // tile[1])):
                y = _middle(tile_row, tile[0], top, low)
                x = _middle(tile_col, tile[1], left, right)
                try:
                    self._read_region(level, x, y, 1, 1)
                except openslide.OpenSlideError as error:
                    self._reopen(error)
                    downsample = self.level_downsamples[level]
                    return (round(tile_col * tile[1] * downsample),
                            round(tile_row * tile[0] * downsample))
        return self._place(level, row, col)

    def _read_region(self, level: int, x: int, y: int, width: int,
                     height: int) -> np.ndarray:
        slide = self._handle.get()
        downsample = slide.level_downsamples[level]
        corner = round(x * downsample), round(y * downsample)
        region = slide.read_region(corner, level, (width, height))
        return white_where_transparent(np.asarray(region))

    def _open(self) -> None:
        self._handle.get()

    def close(self) -> None:
        self._handle.close()


def _check_layout(image: TiffImage, level_sizes: Sequence[tuple[int, int]]) -> None:
    """Leaves TIFF files to other readers that OpenSlide would read by other rules.

    Raises:
        UnreadableError: With the reason.
    """
    reason = None
    if image.is_ome:
        reason = 'see the levels of an OME-TIFF'
    elif image.page != 0:
        reason = f'see page {image.page}, which holds the image'
    elif image.orientation != 1:
        reason = f'turn slides (orientation {image.orientation})'
    elif image.channels not in (1, 3, 4) or (
            image.channels == 4 and image.colours != 'SEPARATED'):
        reason = 'tell alpha from other channels'
    elif not all(_is_level(size, level_sizes[0]) for size in level_sizes):
        reason = 'tell other images from levels'
    if reason:
        raise UnreadableError(f'{image.name}: OpenSlide does not {reason}')


def _is_level(size: tuple[int, int], whole: tuple[int, int]) -> bool:
    """Returns True if (width, height) px may be that of a level of a whole image."""
    across, down = (full / part for full, part in zip(whole, size, strict=True))
    return abs(across / down - 1) <= LEVEL_TOLERANCE + 1 / min(size)


def _number(properties: Mapping[str, str], name: str) -> float | None:
    """Returns a property as a number; None if it is missing or none."""
    try:
        return float(properties[name])
    except (KeyError, ValueError):
        return None


def _bounds(properties: Mapping[str, str]) -> tuple[int, int, int, int] | None:
    values = [_number(properties, name) for name in (
        openslide.PROPERTY_NAME_BOUNDS_X, openslide.PROPERTY_NAME_BOUNDS_Y,
        openslide.PROPERTY_NAME_BOUNDS_WIDTH, openslide.PROPERTY_NAME_BOUNDS_HEIGHT)]
    return None if None in values else tuple(map(int, values))


def _tile_shape(properties: Mapping[str, str], level: int) -> tuple[int, int] | None:
    """Returns (height, width) px of the tiles of a level; None if they differ."""
    sides = [_number(properties, f'openslide.level[{level}].tile-{side}')
             for side in ('height', 'width')]
    return None if None in sides else tuple(map(int, sides))


def _middle(number: int, side: int, low: int, high: int) -> int:
    """Returns the middle of a tile's part between two borders, px."""
    return (max(number * side, low) + min((number + 1) * side, high)) // 2
