# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np

from .random_transform import RandomTransform


class RandomPhotometric(RandomTransform):
    """Base of transforms that change pixel values with a given probability.

    mmcv's colour transforms are not used: ``mmcv.adjust_hue`` overflows for negative
    factors under numpy 2. Random numbers come from numpy's global generator, which
    MMEngine seeds in every worker.

    Required Keys:

    - img (np.uint8): (H, W, 3), BGR, 0-255.

    Modified Keys:

    - img

    Args:
        prob (float): Probability of changing an image, in [0, 1].
    """

    def change(self, img: np.ndarray) -> np.ndarray:
        """Change an image, uint8 (H, W, 3), BGR; random numbers are drawn here."""
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        """Change the image or leave it."""
        if np.random.rand() < self.prob:
            results['img'] = self.change(results['img'])
        return results


def to_uint8(img: np.ndarray) -> np.ndarray:
    """Round and clip to 0-255."""
    return np.clip(np.rint(img), 0, 255).astype(np.uint8)
