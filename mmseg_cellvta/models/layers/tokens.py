# Copyright (c) CellVTA-MMSeg contributors.
"""Between maps (N, C, H, W) and tokens (N, H*W, C), row by row."""
import torch
from torch import Tensor

Shapes = list[tuple[int, int]]  # (height, width) of each level, in cells
VIT_NORM_EPS = 1e-6  # of the LayerNorms over tokens, as in the ViT itself


def map_to_tokens(feature_map: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H*W, C)."""
    return feature_map.flatten(2).transpose(1, 2)


def tokens_to_map(tokens: Tensor, shape: tuple[int, int]) -> Tensor:
    """(N, H*W, C) to (N, C, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, shape)


def reference_points(shapes: Shapes, like: Tensor) -> Tensor:
    """Centres of the cells of all levels, as fractions (x, y) of the picture.

    Returns:
        float32 tensor (1, K, 1, 2) on the device of `like`, values in (0, 1).
    """
    levels = []
    for height, width in shapes:
        y = (torch.arange(height, device=like.device) + 0.5) / height
        x = (torch.arange(width, device=like.device) + 0.5) / width
        points = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)
        levels.append(points.flatten(0, 1))
    return torch.cat(levels)[None, :, None]
