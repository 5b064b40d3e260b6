# Copyright (c) CellVTA-MMSeg contributors.
import math

import cv2
import numpy as np

from ..utils.pixel_size import OBJECTIVE_MPP
from .reader import SlideReader, read_on_white

LEVEL_TOLERANCE = 0.01  # relative; sizes of levels and canvas are rounded to whole px
REMAP_STEPS = 32  # positions within a pixel that cv2.remap tells apart, per axis
PIECE_PX = 2048  # side of the piece of a level that is decoded at a time
TISSUE_MPP = 8  # µm/px of the thumbnail in which tissue is looked for
TISSUE_MARGIN_UM = 50  # distance from tissue up to which glass counts as tissue
# 0-255; below the first is always glass, above the second always tissue.
TISSUE_SATURATION = (15, 20)
MIN_TISSUE_UM2 = 1000  # smaller tissue is dust
MIN_HOLE_UM2 = 50000  # smaller glass is a vessel or fat


class SlideCanvas:
    """Image or slide at the resolution of the network.

    A pixel's value depends on its position alone, never on the rectangle that was asked
    for: all arithmetic that depends on positions is done in whole numbers.

    Pixels are those of `cv2.resize(whole, ..., INTER_LINEAR)`. From a level that is
    twice as fine or more, means of whole blocks of pixels are interpolated instead, for
    two neighbours alone would alias.

    Attributes:
        reader: Reader of the image or slide.
        shape: (height, width), px of the canvas.
        mpp: Size of a pixel, µm.
        scale: Px of level 0 per px of the canvas, along x and y.

    Args:
        reader: See above.
        mpp: See above; 0.25 is 40x.

    Raises:
        ValueError: When the size of the reader's pixels is not known.
    """

    def __init__(self, reader: SlideReader, mpp: float) -> None:
        if reader.mpp is None:
            fix = '; give it with --mpp (µm/px, often 0.25 for 40x, 0.5 for 20x)'
            if reader.objective:
                usual = f'{OBJECTIVE_MPP / reader.objective:.3g}'
                fix = (f', but it states a {reader.objective:g}x objective, usually '
                       f'{usual} µm/px; give --mpp {usual}')
            raise ValueError(
                f'{reader.name}: the size of its pixels is not known{fix}')
        self.reader = reader
        self.mpp = mpp
        height, width = reader.shape
        zoom = reader.mpp / mpp
        self.shape = max(round(height * zoom), 1), max(round(width * zoom), 1)
        self.scale = width / self.shape[1], height / self.shape[0]
        factor = sum(self.scale) / 2
        self._level = max(
            level for level, downsample in enumerate(reader.level_downsamples)
            if downsample <= max(factor * (1 + LEVEL_TOLERANCE), 1))
        downsample = reader.level_downsamples[self._level]
        self._block = max(int(factor / downsample + LEVEL_TOLERANCE), 1)
        # Blocks per px of the canvas, along x and y.
        self._steps = tuple(
            scale / (downsample * self._block) for scale in self.scale)

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Reads a rectangle, which may reach over the borders.

        Args:
            x: Left border, px of the canvas.
            y: Upper border, px of the canvas.
            width: Width, px of the canvas.
            height: Height, px of the canvas.

        Returns:
            Pixels, uint8 (height, width, 3), RGB, 0-255, contiguous; white outside the
            slide.
        """
        return read_on_white(self.shape, x, y, width, height, self._read_inside)

    def _read_inside(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Reads in pieces, so that little of a much finer level is in memory."""
        image = np.empty((height, width, 3), np.uint8)
        size = max(int(PIECE_PX / (self._block * max(self._steps))), 1)
        for row in range(0, height, size):
            for col in range(0, width, size):
                piece = image[row:row + size, col:col + size]
                piece[:] = self._read_piece(x + col, y + row, *piece.shape[1::-1])
        return image

    def _read_piece(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        if self._steps == (1, 1):
            return self._read_means(x, y, x + width, y + height)
        rows, columns = (-(-size // self._block)
                         for size in self.reader.level_shapes[self._level])
        col, x_part = _positions(x, width, self._steps[0], columns)
        row, y_part = _positions(y, height, self._steps[1], rows)
        left, top = col[0], row[0]
        means = self._read_means(
            left, top, min(col[-1] + 2, columns), min(row[-1] + 2, rows))
        corners = np.empty((height, width, 2), np.int16)
        corners[..., 0] = col - left
        corners[..., 1] = (row - top)[:, None]
        parts = (y_part[:, None] * REMAP_STEPS + x_part).astype(np.uint16)
        return cv2.remap(means, corners, parts, cv2.INTER_LINEAR,
                         borderMode=cv2.BORDER_REPLICATE)

    def _read_means(self, left: int, top: int, right: int, bottom: int) -> np.ndarray:
        """Returns the means of whole blocks of the level, which is padded at its end.

        Borders are in blocks; `right` and `bottom` are behind the last one.
        """
        block = self._block
        rows, columns = self.reader.level_shapes[self._level]
        width = min(right * block, columns) - left * block
        height = min(bottom * block, rows) - top * block
        image = self.reader.read(self._level, left * block, top * block, width, height)
        size = (right - left) * block, (bottom - top) * block
        if size != (width, height):
            image = cv2.copyMakeBorder(
                image, 0, size[1] - height, 0, size[0] - width, cv2.BORDER_REPLICATE)
        if block == 1:
            return image
        return cv2.resize(
            image, (right - left, bottom - top), interpolation=cv2.INTER_AREA)


def _positions(start: int, length: int, step: float,
               size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns where px `start`, `start` + 1, ... lie in a line of `size` px.

    Args:
        start: First px.
        length: Number of px.
        step: Distance of two of them, px of the line.
        size: Length of the line, px.

    Returns:
        For each the px of the line before it, and its distance from the centre of that
        px in `REMAP_STEPS`-ths of a px; both int64 (length,).
    """
    centres = (np.arange(start, start + length) + 0.5) * step - 0.5
    ticks = np.rint(np.clip(centres, 0, size - 1) * REMAP_STEPS).astype(np.int64)
    return ticks // REMAP_STEPS, ticks % REMAP_STEPS


class TissueMask:
    """Map of the tissue on a slide, by Otsu's threshold on colour saturation.

    Attributes:
        mask: Tissue with its margin, bool (H, W), about `TISSUE_MPP`.
        fraction: Share of the slide that is tissue, 0-1.

    Args:
        reader: Reader of the slide.

    Raises:
        ValueError: When the size of the reader's pixels is not known.
    """

    def __init__(self, reader: SlideReader) -> None:
        canvas = SlideCanvas(reader, TISSUE_MPP)
        height, width = canvas.shape
        self.mask = find_tissue(canvas.read(0, 0, width, height), TISSUE_MPP)
        self.fraction = float(self.mask.mean())
        self._scale = canvas.scale

    def covers(self, x: float, y: float, width: float, height: float) -> bool:
        """Returns True if any tissue is in a rectangle, given in px of level 0."""
        left, right = x / self._scale[0], (x + width) / self._scale[0]
        top, bottom = y / self._scale[1], (y + height) / self._scale[1]
        part = self.mask[max(math.floor(top), 0):max(math.ceil(bottom), 0),
                         max(math.floor(left), 0):max(math.ceil(right), 0)]
        return bool(part.any())


def find_tissue(thumbnail: np.ndarray, mpp: float) -> np.ndarray:
    """Finds the tissue in a small image.

    Args:
        thumbnail: Pixels, uint8 (H, W, 3), RGB, 0-255.
        mpp: Size of a pixel, µm.

    Returns:
        True on tissue and its margin, without dust and small holes; bool (H, W).
    """
    saturation = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2HSV)[..., 1]
    saturation = cv2.GaussianBlur(saturation, (3, 3), 0)
    threshold, _ = cv2.threshold(saturation, 0, 1, cv2.THRESH_OTSU)
    # Otsu always finds two classes, also within a view of tissue or of glass alone.
    tissue = saturation > np.clip(threshold, *TISSUE_SATURATION)
    tissue = _without_small(tissue, MIN_TISSUE_UM2 / mpp**2)
    tissue = ~_without_small(~tissue, MIN_HOLE_UM2 / mpp**2)
    radius = math.ceil(TISSUE_MARGIN_UM / mpp)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return cv2.dilate(tissue.astype(np.uint8), disk) > 0


def _without_small(mask: np.ndarray, min_area: float) -> np.ndarray:
    """Returns the connected parts of a bool mask that have at least `min_area` px."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_area
    keep[0] = False
    return keep[parts]
