# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable

import cv2
import numpy as np
from mmseg.registry import TRANSFORMS

from .random_geometric import RandomGeometric


@TRANSFORMS.register_module()
class CellRandomSizedCrop(RandomGeometric):
    """Enlarge a random square part to the full image size.

    Args:
        prob (float): Probability of moving an image, in [0, 1].
        min_fraction (float): Least side of the part, as a fraction of the shorter
            image side. Defaults to 0.5.
    """

    def __init__(self, prob: float, min_fraction: float = 0.5) -> None:
        super().__init__(prob)
        if not 0 < min_fraction <= 1:
            raise ValueError(f'min_fraction={min_fraction}: expected above 0, up to 1')
        self.min_fraction = min_fraction

    def draw(self, height: int, width: int) -> tuple[Callable, Callable]:
        longest = min(height, width)
        side = np.random.randint(max(1, round(self.min_fraction * longest)),
                                 longest + 1)
        top = np.random.randint(height - side + 1)
        left = np.random.randint(width - side + 1)

        def crop_with(interpolation: int) -> Callable:

            def crop(array: np.ndarray) -> np.ndarray:
                part = array[top:top + side, left:left + side]
                return cv2.resize(part, (width, height), interpolation=interpolation)

            return crop

        # OpenCV's other nearest mode takes corners of pixels, not centres.
        return crop_with(cv2.INTER_LINEAR), crop_with(cv2.INTER_NEAREST_EXACT)
