# Copyright (c) CellVTA-MMSeg contributors.
import pytest
import torch

from mmseg_cellvta.models.layers import deformable_attention
from mmseg_cellvta.models.layers.deformable_attention import (
    COMPILED_ATTENTION,
    DeformableAttention,
    sample_compiled,
    sample_torch,
)
from mmseg_cellvta.models.layers.tokens import token_levels

SHAPES = ((6, 8), (3, 4))


def levels(*shapes, device='cpu'):
    return token_levels(shapes, torch.device(device))


def random_samples(device='cpu', n=2, heads=2, dims=4, queries=5, points=3):
    torch.manual_seed(0)
    value = torch.randn(n, 60, heads, dims, device=device)
    locations = torch.rand(n, queries, heads, 2, points, 2, device=device) * 1.4 - 0.2
    weights = torch.rand(n, queries, heads, 2, points, device=device)
    return value, levels(*SHAPES, device=device), locations, weights


def bilinear(level, x, y):
    """Value of a (H, W, D) level at a point in cells, zero outside."""
    height, width = level.shape[:2]
    x, y = x - 0.5, y - 0.5
    total = 0
    for row in (int(y // 1), int(y // 1) + 1):
        for col in (int(x // 1), int(x // 1) + 1):
            if 0 <= row < height and 0 <= col < width:
                share = (1 - abs(y - row)) * (1 - abs(x - col))
                total = total + share * level[row, col]
    return total


def test_sampling_equals_the_definition_point_by_point():
    value, places, locations, weights = random_samples()
    maps = [value[:, :48].unflatten(1, (6, 8)), value[:, 48:].unflatten(1, (3, 4))]
    expected = torch.zeros(2, 5, 2, 4)
    for index in torch.cartesian_prod(*map(torch.arange, weights.shape)):
        n, query, head, level, point = index.tolist()
        height, width = SHAPES[level]
        x, y = locations[n, query, head, level, point].tolist()
        sampled = bilinear(maps[level][n, :, :, head], x * width, y * height)
        expected[n, query, head] += weights[n, query, head, level, point] * sampled
    torch.testing.assert_close(
        sample_torch(value, places, locations, weights), expected.flatten(2))


@pytest.mark.parametrize('offset', [(0, 0), (1, 0), (0, 1)])
def test_even_weights_read_the_token_at_the_offset_from_the_query(offset):
    layer = DeformableAttention(4, 2, 1, 3, value_ratio=1.0)
    for projection in (layer.value_proj, layer.output_proj):
        torch.nn.init.eye_(projection.weight)
    layer.sampling_offsets.bias.data.view(-1, 2)[:] = torch.tensor(offset)
    tokens = torch.randn(1, 12, 4)
    x, y = offset
    expected = torch.zeros(1, 3, 4, 4)  # outside the image
    expected[:, :3 - y, :4 - x] = tokens.unflatten(1, (3, 4))[:, y:, x:]
    torch.testing.assert_close(
        layer(tokens, tokens, levels((3, 4)), levels((3, 4))), expected.flatten(1, 2))


def test_names_first_offsets_and_output_are_those_of_mmcv():
    try:
        from mmcv.ops import MultiScaleDeformableAttention
    except ImportError:
        pytest.skip("mmcv's own module needs its compiled ops")
    theirs = MultiScaleDeformableAttention(
        8, 2, 2, 3, batch_first=True, dropout=0, value_proj_ratio=0.5)
    ours = DeformableAttention(8, 2, 2, 3, value_ratio=0.5)
    torch.testing.assert_close(
        ours.sampling_offsets.bias, theirs.sampling_offsets.bias)
    ours.load_state_dict(theirs.state_dict())
    query, value = torch.randn(2, 6, 8), torch.randn(2, 60, 8)
    places = levels((2, 3))
    expected = theirs(
        query,
        value=value,
        identity=torch.zeros_like(query),
        reference_points=places.centres.expand(2, 6, 2, 2),
        spatial_shapes=torch.tensor(SHAPES))
    torch.testing.assert_close(
        ours(query, value, places, levels(*SHAPES)), expected)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_narrows_the_projections_and_nothing_between(dtype, monkeypatch):
    """The points of a projection in half precision would be elsewhere."""
    layer = DeformableAttention(8, 2, 2, 3, value_ratio=0.5)
    torch.nn.init.normal_(layer.sampling_offsets.weight)
    torch.nn.init.normal_(layer.attention_weights.weight)
    query, value = torch.randn(2, 6, 8), torch.randn(2, 60, 8)
    seen = []

    def sample(*args):
        seen.append(args)
        return sample_torch(*args)

    monkeypatch.setattr(deformable_attention, 'sample_torch', sample)
    exact = layer(query, value, levels((2, 3)), levels(*SHAPES))
    with torch.autocast('cpu', dtype=dtype):
        result = layer(query, value, levels((2, 3)), levels(*SHAPES))
    assert result.dtype == dtype
    torch.testing.assert_close(result.float(), exact, rtol=0.05, atol=0.05)
    (_, _, *exact_places), (values, _, *places) = seen
    assert values.dtype == torch.float32
    for ours, theirs in zip(places, exact_places, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_sampling_has_correct_gradients():
    value, places, locations, weights = (
        item.double() if isinstance(item, torch.Tensor) else item
        for item in random_samples(queries=2))
    inputs = [item.requires_grad_() for item in (value, locations, weights)]
    assert torch.autograd.gradcheck(
        lambda v, loc, w: sample_torch(v, places, loc, w), inputs)


@pytest.mark.gpu
@pytest.mark.skipif(COMPILED_ATTENTION is None, reason='needs mmcv built with CUDA')
@pytest.mark.parametrize('n', [2, 65])  # more images than the op takes at a time
def test_compiled_op_equals_the_torch_form_forward_and_backward(n):
    grads = []
    for sample in (sample_torch, sample_compiled):
        value, places, locations, weights = random_samples('cuda', n=n)
        inputs = [item.requires_grad_() for item in (value, locations, weights)]
        output = sample(value, places, locations, weights)
        output.square().sum().backward()
        grads.append([output.detach()] + [item.grad for item in inputs])
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_value_channels_must_divide_among_the_heads():
    with pytest.raises(ValueError, match='6 value channels.*4 heads'):
        DeformableAttention(12, 4, 1, 1, value_ratio=0.5)
