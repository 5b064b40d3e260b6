# Copyright (c) CellVTA-MMSeg contributors.
"""Tokens (N, H*W, C): the places of a map (N, C, H, W), row by row.

Those of a pyramid are (N, K, C), one level after the other.
"""
from typing import NamedTuple

import torch
from torch import Tensor

from ...utils.device_cache import numbers_on

Shapes = tuple[tuple[int, int], ...]  # (rows, columns) of each level, in tokens


def map_to_tokens(feature_map: Tensor) -> Tensor:
    """Turns a map (N, C, H, W) into tokens (N, H*W, C)."""
    return feature_map.flatten(2).transpose(1, 2)


def tokens_to_map(tokens: Tensor, shape: tuple[int, int]) -> Tensor:
    """Turns tokens (N, H*W, C) into a map (N, C, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, shape)


class TokenLevels(NamedTuple):
    """Where the K tokens of one or more levels lie.

    Attributes:
        shapes: (rows, columns) of each level.
        centres: (1, K, 1, 2) float32 points (x, y) as fractions of the image, 0-1.
        sizes: (levels, 2) float32 (columns, rows) of each level.
        shape_rows: (levels, 2) int64: `shapes`, as mmcv's compiled op takes them.
        starts: (levels, ) int64: the first token of each level.
    """

    shapes: Shapes
    centres: Tensor
    sizes: Tensor
    shape_rows: Tensor
    starts: Tensor

    @property
    def lengths(self) -> list[int]:
        """Tokens of each level."""
        return [height * width for height, width in self.shapes]


def token_levels(shapes: Shapes, device: torch.device) -> TokenLevels:
    """Makes the `TokenLevels` of levels with `shapes`, on `device`."""
    centres = []
    for height, width in shapes:
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        points = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)
        centres.append(points.flatten(0, 1))
    sides = numbers_on(device, [n for shape in shapes for n in shape], torch.int64)
    rows = sides.unflatten(0, (-1, 2))
    lengths = rows.prod(1)
    return TokenLevels(
        tuple(shapes), torch.cat(centres)[None, :, None], rows.flip(1).float(), rows,
        lengths.cumsum(0) - lengths)
