# Copyright (c) CellVTA-MMSeg contributors.
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ..labels import open_npy


@TRANSFORMS.register_module()
class LoadCellImage(BaseTransform):
    """Load a picture file, or one image of a ``.npy`` stack of RGB images.

    Takes no argument, because ``mmseg.apis.inference_model`` turns the first transform
    of a test pipeline into ``LoadImageFromNDArray`` and keeps its arguments.

    Required Keys:

    - img_path
    - img_index (optional, for a ``.npy`` file)

    Added Keys:

    - img (np.uint8): (H, W, 3), BGR, 0-255.
    - img_shape
    - ori_shape
    - sample_name (if the data set gave none: the file name without suffix)
    """

    def transform(self, results: dict) -> dict:
        """Load the image."""
        path = results['img_path']
        if 'img_index' in results:
            # OpenMMLab pipelines are BGR; CoNIC stores RGB.
            img = open_npy(path)[results['img_index'], ..., ::-1].copy()
        else:
            # A copy: transforms may write into it, the cache must stay as it is.
            img = read_image(path).copy()
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        results.setdefault('sample_name', Path(path).stem)
        return results


@lru_cache(maxsize=32)
def read_image(path: str) -> np.ndarray:
    """Read a picture file as uint8 (H, W, 3), BGR; the last 32 stay in memory."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such image file')
    img = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if img is None:
        raise ValueError(f'{path}: not a readable picture (png, tif or jpg)')
    return img
