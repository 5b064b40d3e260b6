# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import to_tensor
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackCellInputs(PackSegInputs):
    """Pack image, class map, instance map and HV map for the model.

    Required Keys:

    - img
    - gt_seg_map, gt_inst_map, gt_hv_map (each optional)

    Added Keys:

    - inputs (Tensor): uint8 (3, H, W), BGR, 0-255.
    - data_samples (:obj:`SegDataSample`): ``gt_sem_seg`` (1, H, W) int64,
      ``gt_inst_map`` (1, H, W) int32, ``gt_hv_map`` (2, H, W) float32.

    Args:
        meta_keys (Sequence[str]): Keys that become metainfo of the data sample.
    """

    def __init__(self, meta_keys: Sequence[str] = (
            'img_path', 'img_index', 'sample_name', 'ori_shape', 'img_shape',
            'pad_shape', 'scale_factor', 'flip', 'flip_direction', 'mpp',
            'tissue')) -> None:
        super().__init__(meta_keys=meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack the results."""
        packed = super().transform(results)
        for key in ('gt_inst_map', 'gt_hv_map'):
            if key in results:
                data = to_tensor(np.ascontiguousarray(results[key]))
                data = data[None] if data.ndim == 2 else data
                packed['data_samples'].set_data({key: PixelData(data=data)})
        return packed
