# Copyright (c) CellVTA-MMSeg contributors.
import pytest
import torch

from mmseg_cellvta.models.layers import DeformableAttention, token_levels
from mmseg_cellvta.models.layers.deformable_attention import sample_torch
from mmseg_cellvta.models.layers.row_sampling import LateProjection, sample_rows

SHAPES = ((4, 6), (2, 3))
CPU = torch.device('cpu')


def test_rows_are_summed_as_a_map_is_sampled():
    """At the border, outside of the image and on the centres of tokens too."""
    torch.manual_seed(0)
    levels = token_levels(SHAPES, CPU)
    value = torch.randn(3, 30, 2, 5)
    locations = 2 * torch.rand(3, 200, 2, 2, 4, 2) - 0.5
    locations[0, :30] = levels.centres[0, :, :, None, None]
    locations[1, :30] = locations[1, :30].round()
    weights = torch.rand(3, 200, 2, 2, 4)
    torch.testing.assert_close(
        sample_rows(value, levels, locations, weights),
        sample_torch(value, levels, locations, weights))


def test_gradients_are_those_of_a_sampled_map():
    """Not on the centres of tokens, where the gradient by the place jumps."""
    torch.manual_seed(0)
    levels = token_levels(SHAPES, CPU)
    inputs = (torch.randn(2, 30, 2, 5), 2 * torch.rand(2, 50, 2, 2, 4, 2) - 0.5,
              torch.rand(2, 50, 2, 2, 4))
    weight = torch.randn(2, 50, 10)
    gradients = []
    for sample in (sample_rows, sample_torch):
        value, locations, weights = (x.clone().requires_grad_() for x in inputs)
        (weight * sample(value, levels, locations, weights)).sum().backward()
        gradients.append([x.grad for x in (value, locations, weights)])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_projecting_late_gives_the_same(dtype):
    """Where samples lie outside of the image, too: there the bias counts less."""
    torch.manual_seed(0)
    attn = DeformableAttention(8, 2, 2, 3, value_ratio=0.5)
    for parameter in attn.parameters():
        torch.nn.init.normal_(parameter)
    query, value = torch.randn(2, 6, 8), torch.randn(2, 30, 8)
    places = token_levels(((2, 3), ), CPU), token_levels(SHAPES, CPU)
    with torch.no_grad(), torch.autocast(
            'cpu', dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        early = attn(query, value, *places)
        late = LateProjection(attn)(query, value, *places)
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    assert late.dtype == early.dtype == dtype
    torch.testing.assert_close(late, early, rtol=tolerance, atol=tolerance)


def test_attention_sums_rows_only_where_no_gradient_is_needed(monkeypatch):
    calls = []
    monkeypatch.setattr(
        'mmseg_cellvta.models.layers.deformable_attention.sample_rows',
        lambda *args: calls.append(1) or sample_rows(*args))
    attn = DeformableAttention(8, 2, 2, 3, value_ratio=0.5)
    inputs = (torch.randn(2, 6, 8), torch.randn(2, 30, 8),
              token_levels(((2, 3), ), CPU), token_levels(SHAPES, CPU))
    exact = attn(*inputs)
    assert calls == []
    with torch.no_grad():
        torch.testing.assert_close(attn(*inputs), exact.detach())
    assert calls == [1]
