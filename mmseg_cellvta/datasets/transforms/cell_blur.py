# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
from mmseg.registry import TRANSFORMS

from .random_photometric import RandomPhotometric


@TRANSFORMS.register_module()
class CellBlur(RandomPhotometric):
    """Box blur.

    Args:
        prob (float): Probability of changing an image, in [0, 1].
        kernel_sizes (Tuple[int]): Sides of the box in px, one is drawn. Defaults to
            (3, 5, 7, 9).
    """

    def __init__(self, prob: float,
                 kernel_sizes: tuple[int, ...] = (3, 5, 7, 9)) -> None:
        super().__init__(prob)
        self.kernel_sizes = tuple(kernel_sizes)

    def change(self, img: np.ndarray) -> np.ndarray:
        side = int(np.random.choice(self.kernel_sizes))
        return cv2.blur(img, (side, side))
