# Copyright (c) CellVTA-MMSeg contributors.
import torch
from torch import Tensor, nn

from .deformable_attention import DeformableAttention
from .tokens import VIT_NORM_EPS, Shapes, reference_points


class Injector(nn.Module):
    """Brings the pyramid into the ViT: x + gamma * Attention(x, pyramid).

    ViT-Adapter, arXiv:2205.08534, equation 1.
    """

    def __init__(self, embed_dims: int, init: float, attention: dict) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(embed_dims, eps=VIT_NORM_EPS)
        self.feat_norm = nn.LayerNorm(embed_dims, eps=VIT_NORM_EPS)
        self.attn = DeformableAttention(embed_dims, num_levels=3, **attention)
        self.gamma = nn.Parameter(init * torch.ones(embed_dims))

    def forward(self, x: Tensor, pyramid: Tensor, grid: tuple[int, int],
                shapes: Shapes) -> Tensor:
        """Maps patch tokens (N, L, C) to the same shape."""
        points = reference_points([grid], x)
        attended = self.attn(
            self.query_norm(x), self.feat_norm(pyramid), points, shapes)
        return x + self.gamma * attended
