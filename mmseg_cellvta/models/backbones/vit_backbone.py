# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
from mmengine.model import BaseModule
from torch import Tensor

from ...post_processing.instances import TOKEN_STRIDE
from ..encoders import TimmEncoder

NUM_STAGES = 4


class ViTBackbone(BaseModule):
    """The base of all backbones over a ViT: an encoder in four stages of equal depth.

    Args:
        encoder: Arguments of `TimmEncoder`.

    Attributes:
        encoder: The `TimmEncoder`.
        out_channels: Channels of the four maps that the backbone returns.
        stage_bounds: Five numbers of blocks: stage i begins with block
            `stage_bounds[i]` and ends before block `stage_bounds[i + 1]`.
    """

    def __init__(self, encoder: dict) -> None:
        super().__init__()
        self.encoder = TimmEncoder(**encoder)
        self.out_channels = [self.encoder.embed_dims] * NUM_STAGES
        bounds = np.linspace(0, self.encoder.num_blocks, NUM_STAGES + 1).round()
        self.stage_bounds = bounds.astype(int).tolist()

    def init_weights(self) -> None:
        """Does nothing: all weights are set in the constructor.

        MMEngine would call the ViT's own `init_weights` and so erase what was loaded.
        """
        self._is_init = True


def patch_grid(inputs: Tensor) -> tuple[int, int]:
    """Returns (rows, columns) of the patches of images (N, 3, H, W).

    Raises:
        ValueError: When H or W is no multiple of 16.
    """
    height, width = inputs.shape[2:]
    if height % TOKEN_STRIDE or width % TOKEN_STRIDE:
        raise ValueError(
            f'image of {height} x {width} px: both sides must be multiples of '
            f'{TOKEN_STRIDE} px; set size_divisor={TOKEN_STRIDE} in the data '
            'preprocessor')
    return height // TOKEN_STRIDE, width // TOKEN_STRIDE
