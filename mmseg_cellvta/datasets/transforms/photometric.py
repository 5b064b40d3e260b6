# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
from mmseg.registry import TRANSFORMS

from .random_photometric import RandomPhotometric, to_uint8


@TRANSFORMS.register_module()
class CellColorJitter(RandomPhotometric):
    """Change brightness, contrast, saturation and hue, in random order.

    Args:
        prob (float): Probability of changing an image, in [0, 1].
        brightness (float): Greatest relative change. Defaults to 0.25.
        contrast (float): Greatest relative change. Defaults to 0.25.
        saturation (float): Greatest relative change. Defaults to 0.1.
        hue (float): Greatest shift, as a fraction of the colour circle. Defaults to
            0.05.
    """

    def __init__(self, prob: float, brightness: float = 0.25, contrast: float = 0.25,
                 saturation: float = 0.1, hue: float = 0.05) -> None:
        super().__init__(prob)
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue

    def change(self, img: np.ndarray) -> np.ndarray:
        for name in np.random.permutation(
                ['brightness', 'contrast', 'saturation', 'hue']):
            limit = getattr(self, name)
            amount = np.random.uniform(-limit, limit)
            if name == 'hue':
                img = shift_hue(img, amount)
                continue
            if name == 'brightness':
                anchor = 0.0
            else:
                gray = cv2.cvtColor(img, cv2.COLOR_BGR2GRAY)[..., None]
                anchor = gray.mean() if name == 'contrast' else gray
            img = to_uint8(anchor + (1 + amount) * (img - np.float32(anchor)))
        return img


def shift_hue(img: np.ndarray, fraction: float) -> np.ndarray:
    """Turn the hue of a uint8 BGR image by a fraction of the colour circle."""
    hsv = cv2.cvtColor(img, cv2.COLOR_BGR2HSV)
    # OpenCV keeps the hue of 8-bit images in 0-179, two degrees per step.
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(180 * fraction)) % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
