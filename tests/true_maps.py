# Copyright (c) CellVTA-MMSeg contributors.
"""A slide whose pixels encode their place, and a network that is always right."""
from types import SimpleNamespace

import numpy as np
import torch

from mmseg_cellvta.datasets.transforms import hv_target


class CoordinateCanvas:
    """A slide of at most 4096 x 4096 px whose 24 bits of colour are row and column."""

    scale = (1.0, 1.0)
    reader = SimpleNamespace(damaged=set())

    def __init__(self, shape):
        self.shape = shape

    def read(self, x, y, width, height):
        rows, cols = np.mgrid[y:y + height, x:x + width]
        code = (rows << 12) + cols
        return np.stack([code >> 16, code >> 8, code], axis=-1).astype(np.uint8)


class TrueNetwork:
    """Maps of labels, looked up by the coordinates in the pixels; (H, W) int32 each.

    Args:
        inst_map: Instance ids; outside of it is background.
        class_map: Class ids from 1 on.
        num_classes: Number of classes with background.
    """

    token_dims = 2
    device = torch.device('cpu')

    def __init__(self, inst_map, class_map, num_classes):
        self.num_maps = 4 + num_classes
        height, width = (-(-side // 16) * 16 for side in inst_map.shape)
        self.maps = np.zeros((self.num_maps, height, width), np.float16)
        self.maps[0] = 1
        rows, cols = inst_map.shape
        nuclei = inst_map > 0
        self.maps[:2, :rows, :cols] = ~nuclei, nuclei
        self.maps[2:4, :rows, :cols] = hv_target(inst_map)
        for class_id in range(num_classes):
            self.maps[4 + class_id, :rows, :cols] = class_map == class_id

    def __call__(self, tiles):
        code = tiles.astype(np.int64)
        code = (code[..., 0] << 16) + (code[..., 1] << 8) + code[..., 2]
        rows, cols = code >> 12, code & 4095
        maps = self.maps[:, rows, cols].transpose(1, 0, 2, 3).astype(np.float32)
        # Column and row of the token's centre, in px / 16.
        tokens = np.stack([cols, rows], axis=1)[..., 8::16, 8::16] / 16
        return torch.from_numpy(maps), torch.from_numpy(tokens.astype(np.float32))
