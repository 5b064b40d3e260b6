# Copyright (c) CellVTA-MMSeg contributors.
import math

import cv2
import numpy as np

from .canvas import SlideCanvas
from .reader import SlideReader

MPP = 8  # µm/px of the picture in which tissue is looked for
MARGIN = 50  # µm around tissue that count as tissue
SATURATION = (15, 20)  # 0-255; below the first is glass, above the second tissue
SPECK = 1000  # µm² of tissue below which it is dust
HOLE = 50000  # µm² of glass below which a hole is a vessel or fat


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
