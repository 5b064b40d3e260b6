# Copyright (c) CellVTA-MMSeg contributors.
"""How patch tokens of the ViT and tokens of the pyramid read each other.

In all modules `x` are patch tokens (N, L, C) that lie where `patches` says, one level,
and `pyramid` are tokens (N, K, C) that lie where `levels` says.
"""
import torch
from mmcv.cnn.bricks.drop import DropPath
from torch import Tensor, nn

from .deformable_attention import DeformableAttention
from .tokens import TokenLevels, map_to_tokens, tokens_to_map

NORM_EPS = 1e-6  # of the LayerNorms over tokens, as in the ViT itself


class ConvFFN(nn.Module):
    """Feed-forward layer with a depth-wise convolution inside each pyramid level."""

    def __init__(self, embed_dims: int, ratio: float) -> None:
        super().__init__()
        hidden = int(embed_dims * ratio)
        self.fc1 = nn.Linear(embed_dims, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, embed_dims)

    def forward(self, pyramid: Tensor, levels: TokenLevels) -> Tensor:
        """Turns pyramid tokens (N, K, C) into others of the same shape."""
        parts = self.fc1(pyramid).split(levels.lengths, dim=1)
        parts = [
            map_to_tokens(self.dwconv(tokens_to_map(part, shape)))
            for part, shape in zip(parts, levels.shapes, strict=True)
        ]
        return self.fc2(self.act(torch.cat(parts, dim=1)))


class Injector(nn.Module):
    """The way from the pyramid into the ViT: x + gamma * Attention(x, pyramid).

    ViT-Adapter, arXiv:2205.08534, equation 1.
    """

    def __init__(self, embed_dims: int, init: float, attention: dict) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(embed_dims, eps=NORM_EPS)
        self.feat_norm = nn.LayerNorm(embed_dims, eps=NORM_EPS)
        self.attn = DeformableAttention(embed_dims, num_levels=3, **attention)
        self.gamma = nn.Parameter(init * torch.ones(embed_dims))

    def forward(self, x: Tensor, pyramid: Tensor, patches: TokenLevels,
                levels: TokenLevels) -> Tensor:
        """Returns the patch tokens (N, L, C) after they have read `pyramid`."""
        attended = self.attn(
            self.query_norm(x), self.feat_norm(pyramid), patches, levels)
        return x + self.gamma * attended


class Extractor(nn.Module):
    """The way from the ViT into the pyramid, then a ConvFFN.

    ViT-Adapter, arXiv:2205.08534, equations 2 and 3.
    """

    def __init__(self, embed_dims: int, conv_ffn_ratio: float,
                 drop_path_rate: float, attention: dict) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(embed_dims, eps=NORM_EPS)
        self.feat_norm = nn.LayerNorm(embed_dims, eps=NORM_EPS)
        self.attn = DeformableAttention(embed_dims, num_levels=1, **attention)
        self.ffn_norm = nn.LayerNorm(embed_dims, eps=NORM_EPS)
        self.ffn = ConvFFN(embed_dims, conv_ffn_ratio)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, pyramid: Tensor, patches: TokenLevels,
                levels: TokenLevels) -> Tensor:
        """Returns the pyramid tokens (N, K, C) after they have read `x`."""
        pyramid = pyramid + self.attn(
            self.query_norm(pyramid), self.feat_norm(x), levels, patches)
        return pyramid + self.drop_path(self.ffn(self.ffn_norm(pyramid), levels))


class InteractionBlock(nn.Module):
    """The exchange around a stage of the ViT: inject before it, extract after it.

    Args:
        embed_dims: Channels of tokens and pyramid.
        injector_init: First value of the injector's scale; None for no injector.
        num_extractors: Extractors, one after the other.
        conv_ffn_ratio: Hidden channels of the ConvFFN relative to `embed_dims`.
        drop_path_rate: Stochastic depth of the ConvFFN.
        attention: `num_heads`, `num_points`, `value_ratio` of `DeformableAttention`.
    """

    def __init__(self, embed_dims: int, injector_init: float | None,
                 num_extractors: int, conv_ffn_ratio: float,
                 drop_path_rate: float, attention: dict) -> None:
        super().__init__()
        self.injector = None if injector_init is None else Injector(
            embed_dims, injector_init, attention)
        self.extractors = nn.ModuleList(
            Extractor(embed_dims, conv_ffn_ratio, drop_path_rate, attention)
            for _ in range(num_extractors))

    def inject(self, x: Tensor, pyramid: Tensor, patches: TokenLevels,
               levels: TokenLevels) -> Tensor:
        """Returns the patch tokens (N, L, C) for the blocks of the stage."""
        if self.injector is None:
            return x
        return self.injector(x, pyramid, patches, levels)
