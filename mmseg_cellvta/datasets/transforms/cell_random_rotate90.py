# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Callable

import numpy as np
from mmseg.registry import TRANSFORMS

from .random_geometric import RandomGeometric


@TRANSFORMS.register_module()
class CellRandomRotate90(RandomGeometric):
    """Rotate by 0, 90, 180 or 270 degrees, each equally often."""

    def draw(self, height: int, width: int) -> tuple[Callable, Callable]:
        turns = np.random.randint(4)

        def rotate(array: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(np.rot90(array, turns))

        return rotate, rotate
