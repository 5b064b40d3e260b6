# Copyright (c) CellVTA-MMSeg contributors.
import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ResizeToMpp(BaseTransform):
    """Scale the picture so that a pixel measures a given number of µm.

    The same line serves pictures of any scanner. The picture is interpolated linearly,
    label maps that are already loaded take the nearest pixel. MMCV's `Resize` moves
    label maps against the picture: by 0.8 px where a crop of 410 px becomes 256.

    Required Keys:

    - img
    - mpp (unless `source_mpp` is given)
    - seg_fields (optional), and the maps it names

    Modified Keys:

    - img
    - img_shape
    - scale_factor
    - the maps in seg_fields

    Args:
        mpp (float): Size of a pixel after scaling, µm; 0.25 is 40x.
        source_mpp (float, optional): Size of a pixel, µm, of pictures that do not say
            it, such as those given to ``mmseg.apis.inference_model``.

    Raises:
        ValueError: If a size is not above 0, or that of the picture is not known.
    """

    def __init__(self, mpp: float, source_mpp: float | None = None) -> None:
        for name, value in dict(mpp=mpp, source_mpp=source_mpp).items():
            if value is not None and not value > 0:
                raise ValueError(f'{name}={value}: expected µm/px above 0')
        self.mpp = mpp
        self.source_mpp = source_mpp

    def transform(self, results: dict) -> dict:
        """Scale picture and label maps."""
        source_mpp = results.get('mpp') or self.source_mpp
        if source_mpp is None:
            raise ValueError(
                f'{results.get("img_path", "the picture")}: the size of its pixels is '
                'not known; set source_mpp (µm/px) in ResizeToMpp')
        height, width = results['img'].shape[:2]
        scale = source_mpp / self.mpp
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        results['img'] = cv2.resize(
            results['img'], size, interpolation=cv2.INTER_LINEAR)
        for key in results.get('seg_fields', []):
            results[key] = _resize_labels(results[key], size)
        results['img_shape'] = results['img'].shape[:2]
        results['scale_factor'] = (size[0] / width, size[1] / height)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(mpp={self.mpp}, source_mpp={self.source_mpp})'


def _resize_labels(label_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest pixel centre, as the picture's: OpenCV's other mode takes corners."""
    return cv2.resize(label_map, size, interpolation=cv2.INTER_NEAREST_EXACT)
