# Copyright (c) CellVTA-MMSeg contributors.
import copy

import pytest
import torch
from tiny_models import BACKBONE, DIMS, ENCODERS, HEAD, build
from torch import nn

from mmseg_cellvta.models.layers import recompute


def steps(model, inputs, count=2):
    """Gradients and buffers after training steps, and what autograd kept, bytes."""
    torch.manual_seed(0)
    kept = []

    def keep(tensor):
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    for _ in range(count):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = model(*inputs)
            if isinstance(outputs, dict):
                outputs = outputs.values()
            loss = sum(output.square().mean() for output in outputs)
        loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return gradients, dict(model.named_buffers()), sum(kept)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 4, 1),
            nn.BatchNorm2d(4, momentum=None), nn.ReLU())
        self.recomputed = False

    def forward(self, x):
        return [recompute(self.layers, x) if self.recomputed else self.layers(x)]


def test_statistics_and_random_numbers_are_those_of_one_call():
    plain = Block()
    again = copy.deepcopy(plain)
    again.recomputed = True
    x = torch.randn(2, 3, 8, 8)
    for ours, theirs in zip(steps(again, [x])[:2], steps(plain, [x])[:2], strict=True):
        for name, value in theirs.items():
            assert torch.equal(ours[name], value), name
    assert plain.layers[1].num_batches_tracked == 2


def test_statistics_survive_an_error_while_recomputing():
    block = Block()
    norm = block.layers[1]
    output = recompute(block.layers, torch.randn(2, 3, 8, 8))
    before = norm.running_mean
    block.layers[3].weight = nn.Parameter(torch.zeros(4, 4))
    with pytest.raises(RuntimeError):
        output.sum().backward()
    assert norm.running_mean is before


@pytest.mark.parametrize('kind, frozen', [
    *((kind, True) for kind in ENCODERS), ('vit', False)])
def test_adapter_trains_as_without_and_keeps_less(kind, frozen):
    encoder = dict(ENCODERS[kind], frozen=frozen, drop_path_rate=0.3)
    cfg = dict(BACKBONE, encoder=encoder, drop_path_rate=0.3, injector_init=0.1)
    compare(cfg, [torch.randn(2, 3, 64, 64)], less=0.5)


@pytest.mark.parametrize('changes', [
    dict(out_cls_token=True), dict(injection_stages=(1, )),
    dict(conv_pyramid=False, injection_stages=())])
def test_adapter_of_every_kind_trains_as_without(changes):
    compare(dict(BACKBONE, **changes), [torch.randn(2, 3, 64, 64)])


@pytest.mark.parametrize('strides', [(1, 2, 4, 8, 16), (1, 16, 16, 16, 16)])
def test_head_trains_as_without_and_keeps_less(strides):
    maps = [torch.randn(2, DIMS if i else 3, 64 // stride, 64 // stride)
            for i, stride in enumerate(strides)]
    compare(dict(HEAD, in_strides=strides), [maps], less=0.5)


def compare(cfg, inputs, less=1.1):
    plain = steps(build(cfg).train(), inputs)
    again = steps(build(cfg, with_cp=True).train(), inputs)
    for ours, theirs in zip(again[:2], plain[:2], strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, msg=lambda text, name=name: (
                f'{name}: {text}'))
    assert again[2] < less * plain[2]


def test_without_gradients_nothing_is_recomputed():
    model = build(BACKBONE, with_cp=True).eval()
    plain = build(BACKBONE).eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for ours, theirs in zip(model(image), plain(image), strict=True):
            assert torch.equal(ours, theirs)
