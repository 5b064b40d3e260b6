# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import BaseTransform, to_tensor
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import TRANSFORMS

from ...utils.images import read_image
from ..labels import check_labels, read_labels
from .hv_target import hv_target


@TRANSFORMS.register_module()
class LoadCellImage(BaseTransform):
    """Loads an image file, or one image of a `.npy` stack of RGB images.

    Takes no argument, because `mmseg.apis.inference_model` turns the first transform of
    a test pipeline into `LoadImageFromNDArray` and keeps its arguments. An array that
    `MMSegInferencer` has put into the results already, without a path, stays.

    Required Keys:

    - img_path, or img (np.uint8): (H, W, 3), BGR, 0-255.
    - img_index (optional, for a `.npy` file)

    Added Keys:

    - img (np.uint8): (H, W, 3), BGR, 0-255.
    - img_shape
    - ori_shape
    - sample_name (if the data set gave none: the file name without suffix)
    """

    def transform(self, results: dict) -> dict:
        """Loads the image."""
        path = results['img_path']
        if path is None and 'img' in results:
            return results
        if 'img_index' in results:
            img = _to_bgr(read_image(path, results['img_index']))
        else:
            # A copy: transforms may write into it, the cache must stay as it is.
            img = _read_cached(path).copy()
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        results.setdefault('sample_name', Path(path).stem)
        return results


@lru_cache(maxsize=32)
def _read_cached(path: str) -> np.ndarray:
    """Reads an image file as uint8 (H, W, 3), BGR; random crops visit it again."""
    return _to_bgr(read_image(path))


def _to_bgr(img: np.ndarray) -> np.ndarray:
    """Swaps the channels: OpenMMLab's pipelines are BGR."""
    return cv2.cvtColor(img, cv2.COLOR_RGB2BGR)


@TRANSFORMS.register_module()
class LoadCellAnnotations(BaseTransform):
    """Loads the instance map and the class map of an image.

    mmseg's `LoadAnnotations` reads one map and truncates it to 8 bits; nuclei need two,
    with more than 255 ids. Does nothing where `label_path` is absent, so that the same
    test pipeline serves images without labels.

    Required Keys:

    - label_path (optional): `.npy` or `.mat`, see `read_labels`.
    - label_index (optional): Number of the image in a `.npy` file of many.
    - ori_shape (optional): (height, width) px of the image; the labels must have the
      same.
    - num_classes
    - class_of_id (optional): New class of each class id in the file.

    Added Keys:

    - gt_inst_map (np.int32): (H, W), 0 background.
    - gt_seg_map (np.uint8): (H, W), class ids, 0 background.

    Modified Keys:

    - seg_fields: both maps are in it, so that mmseg's transforms move them.
    """

    def transform(self, results: dict) -> dict:
        """Loads both maps."""
        path = results.get('label_path')
        if path is None:
            return results
        if results.get('label_map') is not None:
            raise ValueError(f'{path}: metainfo selects a subset of the classes, which '
                             'nucleus labels do not support; keep the class list')
        index = results.get('label_index')
        name = path if index is None else f'{path}[{index}]'
        inst_map, class_map = read_labels(path, index)
        if results.get('ori_shape', inst_map.shape) != inst_map.shape:
            raise ValueError(f'{name}: {inst_map.shape} (rows, columns) px, its image '
                             f'{results["ori_shape"]}; they must be equal')
        if results.get('class_of_id') is not None:
            class_map = np.asarray(results['class_of_id'], np.uint8)[class_map]
        check_labels(inst_map, class_map, results['num_classes'], name)
        # A copy: transforms may write into it, the file or the cache must not change.
        results['gt_inst_map'] = np.array(inst_map, np.int32)
        results['gt_seg_map'] = class_map.astype(np.uint8)
        results.setdefault('seg_fields', []).extend(['gt_inst_map', 'gt_seg_map'])
        return results


@TRANSFORMS.register_module()
class GenerateHoverTargets(BaseTransform):
    """Makes the horizontal and vertical distance maps of HoVer-Net.

    The values are directions: a flip or rotation after this transform would leave them
    wrong, so it comes after the last geometric transform.

    Required Keys:

    - gt_inst_map

    Added Keys:

    - gt_hv_map (np.float32): (2, H, W), horizontal first, in [-1, 1].
    """

    def transform(self, results: dict) -> dict:
        """Adds the distance maps."""
        results['gt_hv_map'] = hv_target(results['gt_inst_map'])
        return results


@TRANSFORMS.register_module()
class PackCellInputs(PackSegInputs):
    """Packs image, class map, instance map and HV map for the model.

    Required Keys:

    - img
    - gt_seg_map, gt_inst_map, gt_hv_map (each optional)

    Added Keys:

    - inputs (Tensor): uint8 (3, H, W), BGR, 0-255.
    - data_samples (SegDataSample): `gt_sem_seg` (1, H, W) int64, `gt_inst_map`
      (1, H, W) int32, `gt_hv_map` (2, H, W) float32.

    Args:
        meta_keys: Keys that become metainfo of the data sample.
    """

    def __init__(self, meta_keys: Sequence[str] = (
            'img_path', 'img_index', 'sample_name', 'ori_shape', 'img_shape',
            'pad_shape', 'scale_factor', 'flip', 'flip_direction', 'mpp',
            'network_mpp', 'tissue')) -> None:
        super().__init__(meta_keys=meta_keys)

    def transform(self, results: dict) -> dict:
        """Packs the results."""
        packed = super().transform(results)
        for key in ('gt_inst_map', 'gt_hv_map'):
            if key in results:
                data = to_tensor(np.ascontiguousarray(results[key]))
                data = data[None] if data.ndim == 2 else data
                packed['data_samples'].set_data({key: PixelData(data=data)})
        return packed
