# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ...utils.tiling import tile_starts


@TRANSFORMS.register_module()
class RandomTile(BaseTransform):
    """Cut one of the tiles that cover a picture, each equally often.

    With a size of 256 and a stride of 224 px the four tiles of an enlarged CoNIC patch,
    480 px wide, on which the released CellVTA was trained.

    Required Keys:

    - img
    - seg_fields (optional), and the maps it names

    Modified Keys:

    - img
    - img_shape
    - the maps in seg_fields

    Args:
        size (int): Side of a tile, px.
        stride (int): Distance of two tiles, px; the last one ends at the border.
    """

    def __init__(self, size: int, stride: int) -> None:
        tile_starts(size, size, stride)  # complain before training starts
        self.size = size
        self.stride = stride

    def transform(self, results: dict) -> dict:
        """Cut picture and label maps alike."""
        top, left = (
            int(np.random.choice(tile_starts(length, self.size, self.stride)))
            for length in results['img'].shape[:2])
        for key in ('img', *results.get('seg_fields', [])):
            results[key] = results[key][top:top + self.size, left:left + self.size]
        results['img_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, stride={self.stride})'
