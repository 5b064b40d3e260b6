# Copyright (c) CellVTA-MMSeg contributors.
from mmcv.cnn.bricks.drop import DropPath
from torch import Tensor, nn

from .conv_ffn import ConvFFN
from .deformable_attention import DeformableAttention
from .tokens import VIT_NORM_EPS, Shapes, reference_points


class Extractor(nn.Module):
    """Brings the ViT into the pyramid, then refines it by a ConvFFN.

    ViT-Adapter, arXiv:2205.08534, equations 2 and 3.
    """

    def __init__(self, embed_dims: int, conv_ffn_ratio: float | None,
                 drop_path_rate: float, attention: dict) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(embed_dims, eps=VIT_NORM_EPS)
        self.feat_norm = nn.LayerNorm(embed_dims, eps=VIT_NORM_EPS)
        self.attn = DeformableAttention(embed_dims, num_levels=1, **attention)
        self.ffn = None
        if conv_ffn_ratio is not None:
            self.ffn_norm = nn.LayerNorm(embed_dims, eps=VIT_NORM_EPS)
            self.ffn = ConvFFN(embed_dims, conv_ffn_ratio)
            self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, pyramid: Tensor, grid: tuple[int, int],
                shapes: Shapes) -> Tensor:
        """Maps pyramid tokens (N, K, C) to the same shape."""
        points = reference_points(shapes, x)
        pyramid = pyramid + self.attn(
            self.query_norm(pyramid), self.feat_norm(x), points, [grid])
        if self.ffn is None:
            return pyramid
        return pyramid + self.drop_path(self.ffn(self.ffn_norm(pyramid), shapes))
