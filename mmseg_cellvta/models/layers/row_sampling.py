# Copyright (c) CellVTA-MMSeg contributors.
"""Deformable attention's bilinear samples as weighted sums of rows of a table.

On a CPU without gradients this takes a third of the time of `F.grid_sample`, which
computes the place of a sample again for every channel. The gradient is slower, but
exists on Apple's GPUs, where that of `F.grid_sample` does not.
"""
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .tokens import TokenLevels


def sample_rows(value: Tensor, levels: TokenLevels, locations: Tensor,
                weights: Tensor) -> Tensor:
    """Computes what `sample_torch` does."""
    n, num_tokens, num_heads, _ = value.shape
    tokens, shares = _corners(levels, locations, weights)
    heads = torch.arange(num_heads, dtype=tokens.dtype, device=tokens.device)
    rows = _rows_of_batch(tokens, num_tokens) * num_heads + heads[:, None]
    return _sum_rows(value.flatten(0, 2), rows, shares).flatten(2)


class LateProjection(nn.Module):
    """Deformable attention whose samples are projected, and not all of its values.

    Sampling is linear, so both orders give the same. The patch tokens that read the
    pyramid are a twentieth of it; on a CPU, where rows of any length are summed well,
    this spares the projection of the whole pyramid. Elsewhere nothing changes.

    Args:
        attn: A `DeformableAttention`, which projects first.
    """

    def __init__(self, attn: nn.Module) -> None:
        super().__init__()
        self.attn = attn

    def forward(self, query: Tensor, value: Tensor, query_levels: TokenLevels,
                value_levels: TokenLevels) -> Tensor:
        """Samples `value` around each query's place; see `DeformableAttention`."""
        if value.device.type != 'cpu' or torch.jit.is_tracing():
            return self.attn(query, value, query_levels, value_levels)
        with torch.autocast('cpu', enabled=False):
            tokens, shares = _corners(
                value_levels, *self.attn.locate(query.float(), query_levels,
                                                value_levels))
            rows = _rows_of_batch(tokens, value.shape[1])
            sampled = _sum_rows(value.float().flatten(0, 1), rows, shares)
        return self.attn.output_proj(self._project(sampled, shares))

    def _project(self, sampled: Tensor, shares: Tensor) -> Tensor:
        """Turns samples (N, Q, heads, C) into projected ones (N, Q, value channels)."""
        projection = self.attn.value_proj
        num_heads = sampled.shape[2]
        weight = projection.weight.unflatten(0, (num_heads, -1))
        projected = torch.einsum('nqhc,hdc->nqhd', sampled, weight)
        # Outside the image there is zero, not the bias: it counts by what lies inside.
        bias = projection.bias.unflatten(0, (num_heads, -1))
        return (projected + shares.sum(-1, keepdim=True) * bias).flatten(2)


def _corners(levels: TokenLevels, locations: Tensor,
             weights: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the four tokens around every sample, and what each adds to the sum.

    Args:
        levels: Where the tokens lie.
        locations: As `sample_torch` takes them.
        weights: As `sample_torch` takes them.

    Returns:
        int32 tokens and float32 shares, both (N, Q, heads, samples * 4); the share of a
        token outside the image is 0.
    """
    last = levels.sizes[:, None, :, None] - 1
    places = (locations * levels.sizes[:, None] - 0.5)[..., None]
    first = places.floor()
    corners = torch.cat([first, first + 1], dim=-1)  # of each axis, x and y
    inside = corners.clamp(min=0).minimum(last)
    shares = (1 - (places - corners).abs()) * (inside == corners)
    columns, rows = inside.unbind(-2)
    starts = levels.starts[:, None, None]
    tokens = (rows * levels.sizes[:, :1, None]).int()[..., None] + (
        columns.int() + starts)[..., None, :].int()
    across, down = shares.unbind(-2)
    shares = (down * weights[..., None])[..., None] * across[..., None, :]
    return tokens.flatten(3), shares.flatten(3)


def _rows_of_batch(tokens: Tensor, num_tokens: int) -> Tensor:
    """Returns the rows of tokens (N, ...) in the table of a whole batch."""
    images = torch.arange(len(tokens), dtype=tokens.dtype, device=tokens.device)
    return tokens + num_tokens * images[:, None, None, None]


def _sum_rows(table: Tensor, rows: Tensor, shares: Tensor) -> Tensor:
    """Returns sums (N, Q, heads, C) of rows (N, Q, heads, S) of a table (R, C)."""
    summed = F.embedding_bag(
        rows.flatten(0, 2), table, mode='sum', per_sample_weights=shares.flatten(0, 2))
    return summed.unflatten(0, rows.shape[:3])
