# Copyright (c) CellVTA-MMSeg contributors.
"""Deformable attention over a pyramid of tokens, on CPU and GPU.

Tokens (N, H*W, C) are the places of a map (N, C, H, W), row by row. Those of a pyramid
are (N, K, C), one level after the other.
"""
import math
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# mmcv can be installed without compiled ops; then even importing `mmcv.ops` fails.
HAS_COMPILED_OPS = find_spec('mmcv._ext') is not None
if HAS_COMPILED_OPS:
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

Shapes = list[tuple[int, int]]  # (rows, columns) of each level, in tokens
MAX_IM2COL_STEP = 64  # images that the compiled op handles at a time


def map_to_tokens(feature_map: Tensor) -> Tensor:
    """Turns a map (N, C, H, W) into tokens (N, H*W, C)."""
    return feature_map.flatten(2).transpose(1, 2)


def tokens_to_map(tokens: Tensor, shape: tuple[int, int]) -> Tensor:
    """Turns tokens (N, H*W, C) into a map (N, C, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, shape)


def reference_points(shapes: Shapes, like: Tensor) -> Tensor:
    """Returns the centres of the tokens of all levels.

    Args:
        shapes: (rows, columns) of each level, in tokens.
        like: A tensor on the device of the result.

    Returns:
        (1, K, 1, 2) float32 points (x, y) as fractions of the image, 0-1.
    """
    levels = []
    for height, width in shapes:
        y = (torch.arange(height, device=like.device) + 0.5) / height
        x = (torch.arange(width, device=like.device) + 0.5) / width
        points = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)
        levels.append(points.flatten(0, 1))
    return torch.cat(levels)[None, :, None]


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention (arXiv:2010.04159, eq. 3), on CPU and GPU.

    Parameters and state dict are those of mmcv's `MultiScaleDeformableAttention`. On
    CUDA mmcv's compiled op runs; on the CPU, and where mmcv has no compiled ops, plain
    torch. Both run in float32 under autocast too: the op knows no bfloat16, and float16
    overflows.

    Args:
        embed_dims: Channels of queries and values.
        num_heads: Attention heads.
        num_levels: Levels of the value pyramid.
        num_points: Sampling points per head and level.
        value_ratio: Channels of the projected values relative to `embed_dims`.

    Raises:
        ValueError: When the projected values cannot be divided among the heads.
    """

    def __init__(self, embed_dims: int, num_heads: int, num_levels: int,
                 num_points: int, value_ratio: float) -> None:
        super().__init__()
        value_dims = int(embed_dims * value_ratio)
        if value_dims % num_heads:
            raise ValueError(
                f'{value_dims} value channels (embed_dims={embed_dims} times ratio '
                f'{value_ratio}) cannot be divided among {num_heads} heads; change '
                'deform_num_heads or deform_ratio')
        self.per_query = (num_heads, num_levels, num_points)
        num_samples = math.prod(self.per_query)
        self.sampling_offsets = nn.Linear(embed_dims, 2 * num_samples)
        self.attention_weights = nn.Linear(embed_dims, num_samples)
        self.value_proj = nn.Linear(embed_dims, value_dims)
        self.output_proj = nn.Linear(value_dims, embed_dims)
        self.init_weights()

    def init_weights(self) -> None:
        """Starts with even weights and the points of each head on a ray of its own."""
        num_heads, num_levels, num_points = self.per_query
        angle = torch.arange(num_heads) * (2 * math.pi / num_heads)
        ray = torch.stack([angle.cos(), angle.sin()], dim=-1)
        ray = ray / ray.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, num_points + 1)
        offsets = ray[:, None, None] * steps[:, None]  # heads, 1, points, (x, y)
        with torch.no_grad():
            self.sampling_offsets.weight.zero_()
            self.sampling_offsets.bias.copy_(
                offsets.expand(-1, num_levels, -1, -1).flatten())
            self.attention_weights.weight.zero_()
            self.attention_weights.bias.zero_()
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, value: Tensor, reference_points: Tensor,
                spatial_shapes: Shapes) -> Tensor:
        """Samples `value` around each query's reference point.

        Args:
            query: (N, Q, C) float tokens.
            value: (N, K, C) float tokens of a pyramid.
            reference_points: (1, Q, 1, 2) points (x, y) as fractions of the image, 0-1.
            spatial_shapes: (rows, columns) of each level, in tokens.

        Returns:
            (N, Q, C) float32 tokens, without a residual.
        """
        with torch.autocast(query.device.type, enabled=False):
            query, value = query.float(), value.float()
            n, num_queries = query.shape[:2]
            num_heads = self.per_query[0]
            value = self.value_proj(value).unflatten(-1, (num_heads, -1))
            offsets = self.sampling_offsets(query).view(n, num_queries, *self.per_query,
                                                        2)
            weights = self.attention_weights(query).view(n, num_queries, num_heads, -1)
            weights = weights.softmax(-1).view(n, num_queries, *self.per_query)
            # Offsets count tokens of their level, (x, y); locations are fractions.
            sizes = offsets.new_tensor([(w, h) for h, w in spatial_shapes])
            locations = reference_points[:, :, None, :, None] + offsets / sizes[:, None]
            compiled = value.is_cuda and HAS_COMPILED_OPS
            sample = sample_compiled if compiled else sample_torch
            return self.output_proj(sample(value, spatial_shapes, locations, weights))


def sample_torch(value: Tensor, spatial_shapes: Shapes, locations: Tensor,
                 weights: Tensor) -> Tensor:
    """Computes weighted sums of bilinear samples; outside the image there is zero.

    Args:
        value: (N, K, heads, D) float32 tokens of a pyramid.
        spatial_shapes: (rows, columns) of each level, in tokens.
        locations: (N, Q, heads, levels, points, 2) float32 points (x, y) as fractions
            of the image; outside 0-1 they lie outside of it.
        weights: (N, Q, heads, levels, points) float32, summing to 1 over levels and
            points.

    Returns:
        (N, Q, heads * D) float32.
    """
    n, num_queries, num_heads, _, num_points, _ = locations.shape
    grids = 2 * locations - 1
    output = 0
    first = 0
    for level, (height, width) in enumerate(spatial_shapes):
        tokens = value[:, first:first + height * width].transpose(1, 2).flatten(0, 1)
        sampled = F.grid_sample(  # (N * heads, D, Q, points)
            tokens_to_map(tokens, (height, width)),
            grids[:, :, :, level].transpose(1, 2).flatten(0, 1),
            padding_mode='zeros',
            align_corners=False)
        weight = weights[:, :, :, level].transpose(1, 2).reshape(
            n * num_heads, 1, num_queries, num_points)
        output = output + (sampled * weight).sum(-1)
        first += height * width
    return output.unflatten(0, (n, num_heads)).flatten(1, 2).transpose(1, 2)


def sample_compiled(value: Tensor, spatial_shapes: Shapes, locations: Tensor,
                    weights: Tensor) -> Tensor:
    """Computes what `sample_torch` does by mmcv's compiled CUDA op."""
    shapes = torch.tensor(spatial_shapes, device=value.device)
    sizes = shapes.prod(1)
    n = len(value)
    step = n if n <= MAX_IM2COL_STEP else math.gcd(n, MAX_IM2COL_STEP)  # divides n
    return MultiScaleDeformableAttnFunction.apply(
        value.contiguous(), shapes, sizes.cumsum(0) - sizes, locations.contiguous(),
        weights.contiguous(), step)
