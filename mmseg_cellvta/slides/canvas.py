# Copyright (c) CellVTA-MMSeg contributors.
import math

import cv2
import numpy as np

from .reader import SlideReader, read_on_white

TOLERANCE = 0.01  # relative; sizes of levels and canvas are rounded to whole px
STEPS = 32  # positions within a pixel that cv2.remap tells apart, per axis
PIECE = 2048  # px of the level per side that are decoded at a time
MPP = 8  # µm/px of the picture in which tissue is looked for
MARGIN = 50  # µm around tissue that count as tissue
SATURATION = (15, 20)  # 0-255; below the first is glass, above the second tissue
SPECK = 1000  # µm² of tissue below which it is dust
HOLE = 50000  # µm² of glass below which a hole is a vessel or fat


class SlideCanvas:
    """A picture or slide at the resolution of the network.

    A pixel's value depends on its position alone, never on the rectangle in which it
    was asked for: all arithmetic that depends on positions is done in whole numbers.

    Pixels are those of ``cv2.resize(whole, ..., INTER_LINEAR)``. From a level that is
    twice as fine or more, means of whole blocks of pixels are interpolated instead, for
    two neighbours alone would alias.

    Attributes:
        shape (tuple[int, int]): (height, width) px.
        mpp (float): Size of a pixel, µm.
        scale (tuple[float, float]): Px of level 0 per px, along x and y.

    Args:
        reader (SlideReader): What to read.
        mpp (float): Size of a pixel, µm; 0.25 is 40x.

    Raises:
        ValueError: If the size of the reader's pixels is not known.
    """

    def __init__(self, reader: SlideReader, mpp: float) -> None:
        if reader.mpp is None:
            raise ValueError(
                f'{reader.name}: the size of its pixels is not known; give it with '
                '--mpp (µm/px, often 0.25 for 40x, 0.5 for 20x)')
        self.reader = reader
        self.mpp = mpp
        height, width = reader.shape
        zoom = reader.mpp / mpp
        self.shape = max(round(height * zoom), 1), max(round(width * zoom), 1)
        self.scale = width / self.shape[1], height / self.shape[0]
        factor = sum(self.scale) / 2
        self._level = max(
            level for level, downsample in enumerate(reader.level_downsamples)
            if downsample <= max(factor * (1 + TOLERANCE), 1))
        downsample = reader.level_downsamples[self._level]
        self._block = max(int(factor / downsample + TOLERANCE), 1)
        # Px of the picture of block means per px of the canvas, along x and y.
        self._steps = tuple(
            scale / (downsample * self._block) for scale in self.scale)

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read a rectangle, which may reach over the borders of the canvas.

        Args:
            x (int): Left border, px of the canvas.
            y (int): Upper border, px of the canvas.
            width (int): Width, px.
            height (int): Height, px.

        Returns:
            np.ndarray: (height, width, 3) uint8, RGB, 0-255, contiguous; white outside
            the slide.
        """
        return read_on_white(self.shape, x, y, width, height, self._read_inside)

    def _read_inside(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read piece by piece, so that little of a much finer level is in memory."""
        picture = np.empty((height, width, 3), np.uint8)
        size = max(int(PIECE / (self._block * max(self._steps))), 1)
        for row in range(0, height, size):
            for col in range(0, width, size):
                piece = picture[row:row + size, col:col + size]
                piece[:] = self._read_piece(x + col, y + row, *piece.shape[1::-1])
        return picture

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
        parts = (y_part[:, None] * STEPS + x_part).astype(np.uint16)
        return cv2.remap(means, corners, parts, cv2.INTER_LINEAR,
                         borderMode=cv2.BORDER_REPLICATE)

    def _read_means(self, left: int, top: int, right: int, low: int) -> np.ndarray:
        """Means of whole blocks of px of the level; the last blocks repeat its border.

        Borders are counted in blocks; `right` and `low` are those after the last one.
        """
        block = self._block
        rows, columns = self.reader.level_shapes[self._level]
        width = min(right * block, columns) - left * block
        height = min(low * block, rows) - top * block
        picture = self.reader.read(
            self._level, left * block, top * block, width, height)
        size = (right - left) * block, (low - top) * block
        if size != (width, height):
            picture = cv2.copyMakeBorder(
                picture, 0, size[1] - height, 0, size[0] - width, cv2.BORDER_REPLICATE)
        if block == 1:
            return picture
        return cv2.resize(
            picture, (right - left, low - top), interpolation=cv2.INTER_AREA)


def _positions(start: int, length: int, step: float,
               size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where px `start`, `start` + 1, ... lie in a line of `size` px, `step` px apart.

    Returns:
        tuple[np.ndarray, np.ndarray]: Px before each, and how far it lies behind that
        px's centre in `STEPS`-ths of a px; both (length,) int64.
    """
    centres = (np.arange(start, start + length) + 0.5) * step - 0.5
    ticks = np.rint(np.clip(centres, 0, size - 1) * STEPS).astype(np.int64)
    return ticks // STEPS, ticks % STEPS


class TissueMask:
    """Tells where on a slide tissue is, after Otsu's threshold on colour saturation.

    Attributes:
        mask (np.ndarray): (H, W) bool, tissue with its margin, about 8 µm/px.
        fraction (float): Share of the slide that is tissue, 0-1.

    Args:
        reader (SlideReader): What to look at, in pieces of flat memory.

    Raises:
        ValueError: If the size of the reader's pixels is not known.
    """

    def __init__(self, reader: SlideReader) -> None:
        canvas = SlideCanvas(reader, MPP)
        height, width = canvas.shape
        self.mask = find_tissue(canvas.read(0, 0, width, height), MPP)
        self.fraction = float(self.mask.mean())
        self._scale = canvas.scale

    def covers(self, x: float, y: float, width: float, height: float) -> bool:
        """Whether there is any tissue in a rectangle, given in px of level 0."""
        left, right = x / self._scale[0], (x + width) / self._scale[0]
        top, low = y / self._scale[1], (y + height) / self._scale[1]
        part = self.mask[max(math.floor(top), 0):max(math.ceil(low), 0),
                         max(math.floor(left), 0):max(math.ceil(right), 0)]
        return bool(part.any())


def find_tissue(thumbnail: np.ndarray, mpp: float) -> np.ndarray:
    """Where tissue is in a small picture.

    Args:
        thumbnail (np.ndarray): (H, W, 3) uint8, RGB, 0-255.
        mpp (float): Size of its pixels, µm.

    Returns:
        np.ndarray: (H, W) bool, with a margin of 50 µm, without dust and small holes.
    """
    saturation = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2HSV)[..., 1]
    saturation = cv2.GaussianBlur(saturation, (3, 3), 0)
    threshold, _ = cv2.threshold(saturation, 0, 1, cv2.THRESH_OTSU)
    # Otsu always finds two classes, also within a view of tissue or of glass alone.
    tissue = saturation > np.clip(threshold, *SATURATION)
    tissue = _without_small(tissue, SPECK / mpp**2)
    tissue = ~_without_small(~tissue, HOLE / mpp**2)
    radius = math.ceil(MARGIN / mpp)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return cv2.dilate(tissue.astype(np.uint8), disk) > 0


def _without_small(mask: np.ndarray, min_area: float) -> np.ndarray:
    """The connected parts of a bool mask that have at least `min_area` px."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_area
    keep[0] = False
    return keep[parts]
