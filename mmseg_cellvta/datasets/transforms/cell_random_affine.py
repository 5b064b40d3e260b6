# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable

import cv2
import numpy as np
from mmseg.registry import TRANSFORMS
from skimage.measure import label

from .random_geometric import RandomGeometric


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
