# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ..labels import check_labels, read_labels


@TRANSFORMS.register_module()
class LoadCellAnnotations(BaseTransform):
    """Load the instance map and the class map of an image.

    mmseg's ``LoadAnnotations`` reads one map and truncates it to 8 bits; nuclei need
    two, with more than 255 ids. Does nothing where ``label_path`` is absent, so that
    the same test pipeline serves images without labels.

    Required Keys:

    - label_path (optional): ``.npy`` or ``.mat``, see ``read_labels``.
    - label_index (optional): Picture in a ``.npy`` of many.
    - ori_shape (optional): Size of the picture, to which the labels must be equal.
    - num_classes
    - class_of_id (optional): New class of each class id in the file.

    Added Keys:

    - gt_inst_map (np.int32): (H, W), 0 background.
    - gt_seg_map (np.uint8): (H, W), class ids, 0 background.

    Modified Keys:

    - seg_fields: both maps are in it, so that mmseg's transforms move them.
    """

    def transform(self, results: dict) -> dict:
        """Load both maps."""
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
            raise ValueError(f'{name}: {inst_map.shape} (rows, columns) px, its picture'
                             f' {results["ori_shape"]}; they must be equal')
        if results.get('class_of_id') is not None:
            class_map = np.asarray(results['class_of_id'], np.uint8)[class_map]
        check_labels(inst_map, class_map, results['num_classes'], name)
        # A copy: transforms may write into it, the file or the cache must not change.
        results['gt_inst_map'] = np.array(inst_map, np.int32)
        results['gt_seg_map'] = class_map.astype(np.uint8)
        results.setdefault('seg_fields', []).extend(['gt_inst_map', 'gt_seg_map'])
        return results
