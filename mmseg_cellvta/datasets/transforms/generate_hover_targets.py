# Copyright (c) CellVTA-MMSeg contributors.
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from .hv_target import hv_target


@TRANSFORMS.register_module()
class GenerateHoverTargets(BaseTransform):
    """Make the horizontal and vertical distance maps of HoVer-Net.

    The values are directions: a flip or rotation after this transform would leave them
    wrong, so it comes after the last geometric transform.

    Required Keys:

    - gt_inst_map

    Added Keys:

    - gt_hv_map (np.float32): (2, H, W), horizontal first, in [-1, 1].
    """

    def transform(self, results: dict) -> dict:
        """Add the distance maps."""
        results['gt_hv_map'] = hv_target(results['gt_inst_map'])
        return results
