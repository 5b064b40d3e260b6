# Copyright (c) CellVTA-MMSeg contributors.
"""What all backbones over a ViT share."""
import numpy as np
from torch import Tensor

NUM_STAGES = 4
TOKEN_STRIDE = 16  # px from one patch token to the next


def stage_bounds(num_blocks: int) -> list[int]:
    """Divides the blocks of a ViT into stages of equal depth.

    Returns:
        Five numbers: stage i has the blocks from number i to number i + 1.
    """
    bounds = np.linspace(0, num_blocks, NUM_STAGES + 1).round()
    return bounds.astype(int).tolist()


def patch_grid(inputs: Tensor) -> tuple[int, int]:
    """Returns (rows, columns) of the patches of a picture (N, 3, H, W).

    Raises:
        ValueError: H or W is no multiple of 16.
    """
    height, width = inputs.shape[2:]
    if height % TOKEN_STRIDE or width % TOKEN_STRIDE:
        raise ValueError(
            f'picture of {height} x {width} px: both sides must be multiples of '
            f'{TOKEN_STRIDE} px; set size_divisor={TOKEN_STRIDE} in the data '
            'preprocessor')
    return height // TOKEN_STRIDE, width // TOKEN_STRIDE
