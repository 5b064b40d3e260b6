# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ..label_io import check_labels, open_npy, read_mat_labels


@TRANSFORMS.register_module()
class LoadCellAnnotations(BaseTransform):
    """Load the instance map and the class map of an image.

    mmseg's ``LoadAnnotations`` reads one map and truncates it to 8 bits; nuclei need
    two, with more than 255 ids. Does nothing where ``label_path`` is absent, so that
    the same test pipeline serves images without labels.

    Required Keys:

    - label_path (optional): ``.npy`` with ``label_index``, or ``.mat``.
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
        if 'label_index' in results:
            index = results['label_index']
            name = f'{path}[{index}]'
            labels = open_npy(path)[index]
            inst_map = labels[..., 0].astype(np.int32)
            class_map = labels[..., 1]
        else:
            name = path
            inst_map, class_map = (array.copy() for array in read_mat_labels(path))
        if results.get('class_of_id') is not None:
            class_map = np.asarray(results['class_of_id'], np.uint8)[class_map]
        check_labels(inst_map, class_map, results['num_classes'], name)
        results['gt_inst_map'] = inst_map
        results['gt_seg_map'] = class_map.astype(np.uint8)
        results.setdefault('seg_fields', []).extend(['gt_inst_map', 'gt_seg_map'])
        return results
