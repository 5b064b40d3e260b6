# Copyright (c) CellVTA-MMSeg contributors.
import torch
from torch import Tensor, nn

from .tokens import Shapes, map_to_tokens, tokens_to_map


class ConvFFN(nn.Module):
    """Feed-forward layer with a depth-wise convolution inside each pyramid level."""

    def __init__(self, embed_dims: int, ratio: float) -> None:
        super().__init__()
        hidden = int(embed_dims * ratio)
        self.fc1 = nn.Linear(embed_dims, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, embed_dims)

    def forward(self, tokens: Tensor, shapes: Shapes) -> Tensor:
        """Maps pyramid tokens (N, K, C) to the same shape."""
        levels = self.fc1(tokens).split([h * w for h, w in shapes], dim=1)
        levels = [
            map_to_tokens(self.dwconv(tokens_to_map(level, shape)))
            for level, shape in zip(levels, shapes, strict=True)
        ]
        return self.fc2(self.act(torch.cat(levels, dim=1)))
