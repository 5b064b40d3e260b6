# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
from mmseg.registry import TRANSFORMS

from .random_photometric import RandomPhotometric, to_uint8


@TRANSFORMS.register_module()
class CellZoomBlur(RandomPhotometric):
    """Mean of the image at growing magnifications about its centre.

    Args:
        prob (float): Probability of changing an image, in [0, 1].
        max_factor (float): Greatest magnification is uniform from 1 to this. Defaults
            to 1.05.
        step (Tuple[float, float]): Range of the step between magnifications. Defaults
            to (0.01, 0.03).
    """

    def __init__(self, prob: float, max_factor: float = 1.05,
                 step: tuple[float, float] = (0.01, 0.03)) -> None:
        super().__init__(prob)
        self.max_factor = max_factor
        self.step = tuple(step)

    def change(self, img: np.ndarray) -> np.ndarray:
        height, width = img.shape[:2]
        centre = ((width - 1) / 2, (height - 1) / 2)
        last = np.random.uniform(1, self.max_factor)
        factors = np.arange(1, last, np.random.uniform(*self.step))
        total = img.astype(np.float32)
        for factor in factors:
            matrix = cv2.getRotationMatrix2D(centre, 0, float(factor))
            total += cv2.warpAffine(img, matrix, (width, height),
                                    borderMode=cv2.BORDER_REFLECT_101)
        return to_uint8(total / (len(factors) + 1))
