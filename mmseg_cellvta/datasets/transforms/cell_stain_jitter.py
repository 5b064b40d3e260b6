# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
from mmseg.registry import TRANSFORMS
from skimage.color import hed_from_rgb, rgb_from_hed

from .random_photometric import RandomPhotometric, to_uint8


@TRANSFORMS.register_module()
class CellStainJitter(RandomPhotometric):
    """Make the stains stronger, weaker or of another tint, as other laboratories do.

    The picture is taken apart into optical densities of hematoxylin, eosin and a
    residual (Ruifrok and Johnston 2001); each is scaled and shifted by an amount of its
    own, and the picture is put together again (Tellez et al. 2018,
    https://arxiv.org/abs/1808.05896). Glass, which has no density, moves only by the
    shift.

    Args:
        prob (float): Probability of changing an image, in [0, 1].
        scale (float): Greatest relative change of a density. Defaults to 0.2.
        shift (float): Greatest change of a density that is added everywhere, in units
            of the natural logarithm; 0.05 is five percent of the light. Defaults to
            0.05.
    """

    def __init__(self, prob: float, scale: float = 0.2, shift: float = 0.05) -> None:
        super().__init__(prob)
        self.scale = scale
        self.shift = shift

    def change(self, img: np.ndarray) -> np.ndarray:
        factors = np.random.uniform(1 - self.scale, 1 + self.scale, 3)
        shifts = np.random.uniform(-self.shift, self.shift, 3)
        # Apart, change, together: one linear map of the densities, RGB.
        matrix = hed_from_rgb * factors @ rgb_from_hed
        offset = shifts @ rgb_from_hed
        density = DENSITY[img[..., ::-1]]
        changed = cv2.transform(
            density, np.column_stack([matrix.T, offset]).astype(np.float32))
        light = 255 * np.exp(-changed)
        return to_uint8(light)[..., ::-1].copy()


# Optical density of each 8-bit value; black has that of half a grey level.
DENSITY = -np.log(np.maximum(np.arange(256), 0.5) / 255).astype(np.float32)
