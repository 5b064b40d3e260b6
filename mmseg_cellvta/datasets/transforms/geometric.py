# Copyright (c) CellVTA-MMSeg contributors.
"""Geometric augmentation: the image and every map in ``seg_fields`` move together.

Flips and crops are mmseg's ``RandomFlip`` and ``RandomCrop``, which treat both label
maps correctly. Its ``RandomRotFlip`` interpolates labels, hence the rotation here.
Random numbers come from numpy's global generator, which MMEngine seeds in every worker.
"""
from collections.abc import Callable

import cv2
import numpy as np
from mmseg.registry import TRANSFORMS
from skimage.measure import label

from .random_transform import RandomTransform


class RandomGeometric(RandomTransform):
    """Base of transforms that move pixels with a given probability.

    Required Keys:

    - img
    - seg_fields (optional), and the maps it names

    Modified Keys:

    - img
    - img_shape
    - the maps in seg_fields

    Args:
        prob (float): Probability of moving an image, in [0, 1].
    """

    def draw(self, height: int, width: int) -> tuple[Callable, Callable]:
        """Draw one motion: a function for the image and one for label maps."""
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        """Move the image and its label maps alike, or neither."""
        if np.random.rand() >= self.prob:
            return results
        move_image, move_labels = self.draw(*results['img'].shape[:2])
        results['img'] = move_image(results['img'])
        results['img_shape'] = results['img'].shape[:2]
        for key in results.get('seg_fields', []):
            results[key] = move_labels(results[key])
        return results


@TRANSFORMS.register_module()
class CellRandomRotate90(RandomGeometric):
    """Rotate by 0, 90, 180 or 270 degrees, each equally often."""

    def draw(self, height: int, width: int) -> tuple[Callable, Callable]:
        turns = np.random.randint(4)

        def rotate(array: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(np.rot90(array, turns))

        return rotate, rotate


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

        return crop_with(cv2.INTER_LINEAR), crop_with(cv2.INTER_NEAREST)


@TRANSFORMS.register_module()
class CellRandomAffine(RandomGeometric):
    """Random affine motion: three anchor points shift independently.

    What the paper's elastic transform comes to: at its setting (sigma 25, alpha 0.5)
    the elastic part stays below a pixel. Pixels from beyond the border are mirrored;
    mirrored copies of a nucleus become nuclei of their own, so that their distance maps
    are right.

    Args:
        prob (float): Probability of moving an image, in [0, 1].
        max_shift (float): Greatest shift of an anchor along x and along y, in px.
            Defaults to 15.
    """

    def __init__(self, prob: float, max_shift: float = 15.0) -> None:
        super().__init__(prob)
        self.max_shift = max_shift

    def draw(self, height: int, width: int) -> tuple[Callable, Callable]:
        reach = min(height, width) // 3
        anchors = np.float32([width / 2, height / 2]) + reach * np.float32(
            [[1, 1], [1, -1], [-1, -1]])
        shifts = np.random.uniform(-self.max_shift, self.max_shift, (3, 2))
        matrix = cv2.getAffineTransform(anchors, anchors + shifts.astype(np.float32))

        def warp(array: np.ndarray, interpolation: int) -> np.ndarray:
            return cv2.warpAffine(array, matrix, (width, height), flags=interpolation,
                                  borderMode=cv2.BORDER_REFLECT_101)

        def warp_labels(array: np.ndarray) -> np.ndarray:
            # OpenCV takes other pixels of 8-bit maps than of 32-bit ones where two are
            # equally near; the maps must agree.
            warped = warp(array.astype(np.int32), cv2.INTER_NEAREST)
            # Only the instance map is int32; classes keep their ids.
            if array.dtype == np.int32:
                return split_copies(warped)
            return warped.astype(array.dtype)

        return lambda img: warp(img, cv2.INTER_LINEAR), warp_labels


def split_copies(inst_map: np.ndarray) -> np.ndarray:
    """Give each connected region of an instance map, int32 (H, W), an id of its own."""
    return label(inst_map, background=0, connectivity=2).astype(np.int32)
