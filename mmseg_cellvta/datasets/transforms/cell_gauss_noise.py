# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
from mmseg.registry import TRANSFORMS

from .random_photometric import RandomPhotometric, to_uint8


@TRANSFORMS.register_module()
class CellGaussNoise(RandomPhotometric):
    """Gaussian noise, independent per pixel and channel.

    Args:
        prob (float): Probability of changing an image, in [0, 1].
        max_variance (float): Variance is uniform from 0 to this, in squared units of
            the 0-255 scale. Defaults to 10.
    """

    def __init__(self, prob: float, max_variance: float = 10.0) -> None:
        super().__init__(prob)
        self.max_variance = max_variance

    def change(self, img: np.ndarray) -> np.ndarray:
        sigma = np.sqrt(np.random.uniform(0, self.max_variance))
        return to_uint8(img + np.random.normal(0, sigma, img.shape))
