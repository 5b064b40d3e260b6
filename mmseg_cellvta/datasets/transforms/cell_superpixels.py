# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
from mmseg.registry import TRANSFORMS
from skimage.segmentation import slic

from .random_photometric import RandomPhotometric, to_uint8


@TRANSFORMS.register_module()
class CellSuperpixels(RandomPhotometric):
    """Paint some superpixels (SLIC) in their mean colour.

    Args:
        prob (float): Probability of changing an image, in [0, 1].
        replace_prob (float): Probability of painting one superpixel. Defaults to 0.1.
        num_segments (int): Number of superpixels. Defaults to 200.
        max_side (int): A larger image is reduced to this longer side, in px, and
            enlarged again, as in the paper's setting. Defaults to 128.
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
