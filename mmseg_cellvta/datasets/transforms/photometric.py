# Copyright (c) CellVTA-MMSeg contributors.
"""Transforms that change the pixel values of an image and leave its labels.

MMCV's colour transforms are not used: `mmcv.adjust_hue` overflows for negative factors
under numpy 2. Random numbers come from numpy's global generator, which MMEngine seeds
in every worker.
"""
import cv2
import numpy as np
from mmseg.registry import TRANSFORMS
from skimage.color import hed_from_rgb, rgb_from_hed
from skimage.segmentation import slic

from .geometric import RandomTransform

# Optical density of each 8-bit value; black has that of half a grey level.
DENSITY = -np.log(np.maximum(np.arange(256), 0.5) / 255).astype(np.float32)


class RandomPhotometric(RandomTransform):
    """Base of the augmentations that change pixel values.

    Required Keys:

    - img (np.uint8): (H, W, 3), BGR, 0-255.

    Modified Keys:

    - img

    Args:
        prob: Probability of changing an image, in [0, 1].
    """

    def change(self, img: np.ndarray) -> np.ndarray:
        """Changes an image, uint8 (H, W, 3), BGR; draws random numbers."""
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        """Changes the image or leaves it."""
        if np.random.rand() < self.prob:
            results['img'] = self.change(results['img'])
        return results


def to_uint8(img: np.ndarray) -> np.ndarray:
    """Rounds and clips to 0-255."""
    return np.clip(np.rint(img), 0, 255).astype(np.uint8)


@TRANSFORMS.register_module()
class CellBlur(RandomPhotometric):
    """Blurs with a box.

    Args:
        prob: Probability of changing an image, in [0, 1].
        kernel_sizes: Sides of the box, px; one is drawn.
    """

    def __init__(self, prob: float,
                 kernel_sizes: tuple[int, ...] = (3, 5, 7, 9)) -> None:
        super().__init__(prob)
        self.kernel_sizes = tuple(kernel_sizes)

    def change(self, img: np.ndarray) -> np.ndarray:
        side = int(np.random.choice(self.kernel_sizes))
        return cv2.blur(img, (side, side))


@TRANSFORMS.register_module()
class CellGaussNoise(RandomPhotometric):
    """Adds Gaussian noise, independent per pixel and channel.

    Args:
        prob: Probability of changing an image, in [0, 1].
        max_variance: Largest variance, squared units of the 0-255 scale; uniform from
            0.
    """

    def __init__(self, prob: float, max_variance: float = 10.0) -> None:
        super().__init__(prob)
        self.max_variance = max_variance

    def change(self, img: np.ndarray) -> np.ndarray:
        sigma = np.sqrt(np.random.uniform(0, self.max_variance))
        return to_uint8(img + np.random.normal(0, sigma, img.shape))


@TRANSFORMS.register_module()
class CellColorJitter(RandomPhotometric):
    """Changes brightness, contrast, saturation and hue, in random order.

    Args:
        prob: Probability of changing an image, in [0, 1].
        brightness: Largest relative change.
        contrast: Largest relative change.
        saturation: Largest relative change.
        hue: Largest shift, as a fraction of the colour circle.
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
    """Turns the hue of a uint8 BGR image by a fraction of the colour circle."""
    hsv = cv2.cvtColor(img, cv2.COLOR_BGR2HSV)
    # OpenCV keeps the hue of 8-bit images in 0-179, two degrees per step.
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(180 * fraction)) % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


@TRANSFORMS.register_module()
class CellStainJitter(RandomPhotometric):
    """Makes the stains stronger, weaker or of another tint, as other laboratories do.

    Splits the image into optical densities of hematoxylin, eosin and a residual
    (Ruifrok and Johnston 2001), scales and shifts each by its own random amount, and
    composes the image again (Tellez et al. 2018, https://arxiv.org/abs/1808.05896).
    Glass, which has no density, changes only by the shift.

    Args:
        prob: Probability of changing an image, in [0, 1].
        scale: Largest relative change of a density.
        shift: Largest amount added to a density everywhere, in units of the natural
            logarithm; 0.05 is five percent of the light.
    """

    def __init__(self, prob: float, scale: float = 0.2, shift: float = 0.05) -> None:
        super().__init__(prob)
        self.scale = scale
        self.shift = shift

    def change(self, img: np.ndarray) -> np.ndarray:
        factors = np.random.uniform(1 - self.scale, 1 + self.scale, 3)
        shifts = np.random.uniform(-self.shift, self.shift, 3)
        # To stains, change, back to RGB: one linear map of the densities.
        matrix = hed_from_rgb * factors @ rgb_from_hed
        offset = shifts @ rgb_from_hed
        density = DENSITY[img[..., ::-1]]
        changed = cv2.transform(
            density, np.column_stack([matrix.T, offset]).astype(np.float32))
        light = 255 * np.exp(-changed)
        return to_uint8(light)[..., ::-1].copy()


@TRANSFORMS.register_module()
class CellSuperpixels(RandomPhotometric):
    """Paints some superpixels (SLIC) in their mean colour.

    Args:
        prob: Probability of changing an image, in [0, 1].
        replace_prob: Probability of painting a superpixel, in [0, 1].
        num_segments: Number of superpixels.
        max_side: Longer side, px, to which a larger image is reduced before it is
            enlarged again, as in the paper's setting.
    """

    def __init__(self, prob: float, replace_prob: float = 0.1, num_segments: int = 200,
                 max_side: int = 128) -> None:
        super().__init__(prob)
        self.replace_prob = replace_prob
        self.num_segments = num_segments
        self.max_side = max_side

    def change(self, img: np.ndarray) -> np.ndarray:
        height, width = img.shape[:2]
        scale = min(1.0, self.max_side / max(height, width))
        small = cv2.resize(img, None, fx=scale, fy=scale)
        segments = slic(small, n_segments=self.num_segments, compactness=10,
                        start_label=0)
        counts = np.bincount(segments.ravel())
        means = np.stack([
            np.bincount(segments.ravel(), small[..., channel].ravel()) / counts
            for channel in range(3)
        ], axis=-1)
        painted = (np.random.rand(len(counts)) < self.replace_prob)[segments]
        small = np.where(painted[..., None], to_uint8(means)[segments], small)
        return cv2.resize(small, (width, height))


@TRANSFORMS.register_module()
class CellZoomBlur(RandomPhotometric):
    """Averages the image at growing magnifications about its centre.

    Args:
        prob: Probability of changing an image, in [0, 1].
        max_factor: Upper bound of the largest magnification, which is uniform from 1.
        step: Range of the step between magnifications.
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
