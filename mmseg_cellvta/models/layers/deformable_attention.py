# Copyright (c) CellVTA-MMSeg contributors.
"""Deformable attention over a pyramid of tokens, on CPU and GPU."""
import functools
import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...utils.devices import WITHOUT_GRID_SAMPLE_GRADIENT
from ...utils.stacks import find_compiled_attention, is_compiling
from .row_sampling import sample_rows
from .tokens import TokenLevels, tokens_to_map

COMPILED_ATTENTION = find_compiled_attention()
MAX_IM2COL_STEP = 64  # images that the compiled op handles at a time


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention (arXiv:2010.04159, eq. 3), on CPU and GPU.

    Parameters and state dict are those of mmcv's `MultiScaleDeformableAttention`. On
    CUDA mmcv's compiled op runs; on other devices, in a graph of `torch.compile`, and
    where mmcv was built without CUDA, plain torch.

    Under autocast the projections of values and of the output, where the work is, run
    in half precision. Offsets, weights and sampling stay in float32: bfloat16 would
    round an offset of 5 tokens to 1/32 token, and the op does not know it.

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

    def forward(self, query: Tensor, value: Tensor, query_levels: TokenLevels,
                value_levels: TokenLevels) -> Tensor:
        """Samples `value` around each query's place.

        Args:
            query: (N, Q, C) float tokens.
            value: (N, K, C) float tokens of a pyramid.
            query_levels: Where the queries lie.
            value_levels: Where the values lie, one level for each of `num_levels`.

        Returns:
            (N, Q, C) tokens, without a residual, as the projections compute them:
            under autocast in half precision.
        """
        value = self.value_proj(value)
        with torch.autocast(query.device.type, enabled=False):
            value = value.float().unflatten(-1, (self.per_query[0], -1))
            sampled = self._sample(query.float(), value, query_levels, value_levels)
        return self.output_proj(sampled)

    def _sample(self, query: Tensor, value: Tensor, query_levels: TokenLevels,
                value_levels: TokenLevels) -> Tensor:
        """Returns (N, Q, value channels) of values (N, K, heads, D), all float32."""
        locations, weights = self.locate(query, query_levels, value_levels)
        if _use_compiled(value):
            sample = sample_compiled
        elif _sums_rows(value.device):
            sample = sample_rows
        else:
            sample = sample_torch
        return sample(value, value_levels, locations, weights)

    def locate(self, query: Tensor, query_levels: TokenLevels,
               value_levels: TokenLevels) -> tuple[Tensor, Tensor]:
        """Returns the locations and weights of the samples of float32 queries."""
        n, num_queries = query.shape[:2]
        offsets = self.sampling_offsets(query).view(n, num_queries, *self.per_query, 2)
        weights = self.attention_weights(query).view(
            n, num_queries, self.per_query[0], -1)
        weights = weights.softmax(-1).view(n, num_queries, *self.per_query)
        # Offsets count tokens of their level, (x, y); locations are fractions.
        places = query_levels.centres[:, :, None, :, None]
        return places + offsets / value_levels.sizes[:, None], weights


def _sums_rows(device: torch.device) -> bool:
    if torch.is_grad_enabled():
        return device.type in WITHOUT_GRID_SAMPLE_GRADIENT
    # Who reads a traced network knows `F.grid_sample`.
    return device.type == 'cpu' and not torch.jit.is_tracing()


def _use_compiled(value: Tensor) -> bool:
    # A graph of `torch.compile` would break around an op that it cannot see into.
    if not value.is_cuda or is_compiling():
        return False
    if COMPILED_ATTENTION is None:
        _warn_of_plain_form()
    return COMPILED_ATTENTION is not None


@functools.cache  # once per process
def _warn_of_plain_form() -> None:
    warnings.warn(
        'mmcv has no CUDA operators, so deformable attention runs in plain torch: the '
        'same results, but slower and with more memory. Install an mmcv built with '
        'CUDA, as `make install` does where it finds nvcc, or a wheel for your '
        'versions of torch and CUDA', stacklevel=2)


def sample_torch(value: Tensor, levels: TokenLevels, locations: Tensor,
                 weights: Tensor) -> Tensor:
    """Computes weighted sums of bilinear samples; outside the image there is zero.

    Args:
        value: (N, K, heads, D) float32 tokens of a pyramid.
        levels: Where the values lie.
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
    for level, (height, width) in enumerate(levels.shapes):
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


def sample_compiled(value: Tensor, levels: TokenLevels, locations: Tensor,
                    weights: Tensor) -> Tensor:
    """Computes what `sample_torch` does by mmcv's compiled CUDA op."""
    n = len(value)
    step = n if n <= MAX_IM2COL_STEP else math.gcd(n, MAX_IM2COL_STEP)  # divides n
    return COMPILED_ATTENTION.apply(
        value.contiguous(), levels.shape_rows, levels.starts, locations.contiguous(),
        weights.contiguous(), step)
