# Copyright (c) CellVTA-MMSeg contributors.
import mmap
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from timm.layers import Attention
from tiny_models import SEGMENTOR
from torch import nn

from mmseg_cellvta.models.layers import DeformableAttention, token_levels
from mmseg_cellvta.utils.complexity import (
    build_without_weights,
    count_macs,
    measure_complexity,
    measure_timing,
)

CONVOLUTIONS = nn.Conv2d, nn.ConvTranspose2d
ROOT = Path(__file__).resolve().parents[2]
CONFIG = dict(
    model=SEGMENTOR,
    optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)))
needs_linux = pytest.mark.skipif(
    sys.platform != 'linux', reason='peak memory of a CPU is read from /proc')


class Net(nn.Module):
    """Calls one layer on an input of (N, 3, H, W), as `forward` says."""

    def __init__(self, layer, forward):
        super().__init__()
        self.layer = layer
        self.call = forward

    def forward(self, inputs, mode):
        return self.call(self.layer, inputs)


def macs(make_layer, forward, shape=(2, 3, 8, 10)):
    with torch.device('meta'):
        net = Net(make_layer(), forward)
    return count_macs(net, shape)


def call(layer, inputs):
    return layer(inputs)


def tokens(layer, inputs):
    """80 tokens of 16 channels per image, whatever is in it."""
    return layer(inputs.new_empty(len(inputs), 80, 16))


@pytest.mark.parametrize(('layer', 'forward', 'expected'), [
    # the kernel at every output
    (lambda: nn.Conv2d(3, 5, 3, stride=2, padding=1), call, 4 * 5 * 5 * 3 * 9),
    # channels of the own group only
    (lambda: nn.Conv2d(3, 3, 3, padding=1, groups=3), call, 8 * 10 * 3 * 9),
    # the kernel at every input
    (lambda: nn.ConvTranspose2d(3, 5, 2, stride=2), call, 8 * 10 * 3 * 5 * 4),
    # every token
    (lambda: nn.Linear(16, 7), tokens, 80 * 16 * 7),
    # projections and both products
    (lambda: Attention(16, num_heads=4), tokens,
     80 * 16 * 3 * 16 + 2 * 80 * 80 * 16 + 80 * 16 * 16)])
def test_layers_count_by_their_rules(layer, forward, expected):
    assert macs(layer, forward) == 2 * expected


def test_deformable_attention_counts_projections_and_samples():
    heads, levels, points, value_dims = 4, 2, 3, 8
    queries, keys, shapes = 80, 100, ((8, 10), (4, 5))

    def forward(layer, inputs):
        n = len(inputs)
        return layer(
            inputs.new_empty(n, queries, 16), inputs.new_empty(n, keys, 16),
            *(token_levels(lie, inputs.device) for lie in (shapes[:1], shapes)))

    samples = queries * heads * levels * points
    linear = 16 * (keys * value_dims + 2 * samples + samples + queries * value_dims)
    # Four neighbours for each channel of a head.
    sampling = samples * (value_dims // heads) * 4
    assert macs(lambda: DeformableAttention(16, heads, levels, points, 0.5),
                forward) == 2 * (linear + sampling)


def test_macs_grow_with_the_batch():
    model = ConfigDict(SEGMENTOR)
    one = measure_complexity(model, (64, 96))
    three = measure_complexity(model, (64, 96), batch_size=3)
    assert three.macs == 3 * one.macs and three.params == one.params


@pytest.fixture(scope='module')
def uni():
    """The released CoNIC model, of which the authors' log has torchinfo's figures."""
    return Config.fromfile(ROOT / 'configs/cellvta_uni_conic_released.py').model


@pytest.fixture(scope='module')
def uni_complexity(uni):
    return measure_complexity(uni, (256, 256))


def test_the_full_model_is_counted_without_weights(uni, uni_complexity):
    uni.backbone.encoder.weights = 'hf-hub:owner/unreachable'
    assert measure_complexity(uni, (256, 256)) == uni_complexity
    assert uni.backbone.encoder.weights == 'hf-hub:owner/unreachable'


def test_the_parameters_are_those_of_the_released_model(uni_complexity):
    assert uni_complexity.params == 387_751_052
    assert uni_complexity.trainable_params == 84_402_316


@pytest.fixture(scope='module')
def layers_and_macs(uni):
    """Every call of a layer of the full model: name, layer, px of input and output.

    And the multiply-adds of all of it, in the normal form.
    """
    with torch.device('meta'):
        model = build_without_weights(uni)
    calls = []

    def note(name):
        def hook(module, inputs, output):
            calls.append((name, module, inputs[0].shape[2:].numel(),
                          output.shape[2:].numel()))
        return hook

    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(note(name))
    macs = count_macs(model, (1, 3, 256, 256))
    return calls, macs


def test_the_multiply_adds_of_the_authors_log_follow_by_the_rule_of_its_tool(
        layers_and_macs):
    """torchinfo: the parameters of a convolution, bias included, at every output; all
    other parameters once per image, however many tokens; no products of attention."""
    macs = 0
    for name, module, _, outputs in layers_and_macs[0]:
        params = sum(p.numel() for p in module.parameters(recurse=False))
        macs_of_layer = params * (outputs if isinstance(module, CONVOLUTIONS) else 1)
        # The released code runs the shared skip encoders for each of three branches.
        macs += macs_of_layer * (3 if 'skip_encoders' in name else 1)
    assert round(macs / 1e9, 1) == 333.8


def test_the_multiply_adds_of_the_full_model_are_derived(layers_and_macs):
    """24 blocks over 256 tokens: the class token goes beside them in this config."""
    dims, tokens, pyramid = 1024, 256, 64**2 + 32**2 + 16**2
    blocks = 24 * (12 * tokens * dims**2 + 2 * tokens**2 * dims)

    def deformable(queries, keys, levels):
        samples = queries * 8 * levels * 4
        return dims * (keys * 512 + 3 * samples + queries * 512) + 4 * 64 * samples

    interactions = 4 * deformable(tokens, pyramid, 3) + 6 * (
        deformable(pyramid, tokens, 1) + 2 * pyramid * dims * 256)
    # A transposed convolution spreads its kernel from every input.
    convolutions = sum(
        module.weight.numel()
        * (inputs if isinstance(module, nn.ConvTranspose2d) else outputs)
        for _, module, inputs, outputs in layers_and_macs[0]
        if isinstance(module, CONVOLUTIONS))
    tissue_head = dims
    assert layers_and_macs[1] == (
        blocks + interactions + convolutions + tissue_head)


def test_what_the_form_for_inference_spares_is_derived(layers_and_macs, uni_complexity):
    dims, half, quarter, tokens = 1024, 128**2, 64**2, 16**2
    pyramid = 64**2 + 32**2 + 16**2
    # The 1/2 level: 1x1, 2x2 transposed and 3x3 convolution; instead of them 3x3 over
    # the branch, 4x4 transposed over 1/4, and nine taps of the ViT's map, enlarged.
    level = 64 * dims * half + 4 * dims**2 * quarter + 9 * dims * 128 * half
    level -= 9 * 64 * 128 * half + 16 * dims * 128 * quarter + 9 * dims * 128 * tokens
    level -= 128 * 48 * (48 * 128) + 128 * 48 * (128 * 128)
    # In each branch four enlargements, each with the convolution after it.
    branch = sum(
        (4 * before * after + 4 * 9 * after**2 - 16 * before * after) * px
        for before, after, px in (
            (dims, 512, 16**2), (512, 256, 32**2), (256, 128, quarter),
            (128, 64, half)))
    # Four injectors project what 256 queries have sampled with all channels.
    samples = tokens * 8 * 3 * 4
    injector = (pyramid - tokens) * dims * 512 - 4 * (dims - 64) * samples
    assert layers_and_macs[1] - uni_complexity.macs == (
        level + 3 * branch + 4 * injector)
    assert uni_complexity.macs < 262e9


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'tiny.py'
    Config(CONFIG).dump(path)
    return str(path)


@needs_linux
def test_a_training_step_takes_more_than_a_forward_pass(config):
    timing = measure_timing(config, None, (64, 64), 2, 'cpu', repeats=3)
    assert 0 < timing.forward_s < timing.train_step_s < 10


@needs_linux
def test_memory_that_a_step_takes_is_seen(config, monkeypatch):
    forward = torch.nn.Module.__call__
    size = 200 * 1024**2

    def greedy(module, *args, **kwargs):
        if kwargs.get('mode') == 'tensor':
            # Gone at once: only a peak has it. The heap may reuse freed memory.
            np.frombuffer(mmap.mmap(-1, size), np.uint8).fill(1)
        return forward(module, *args, **kwargs)

    monkeypatch.setattr('mmseg.models.EncoderDecoder.__call__', greedy, raising=False)
    timing = measure_timing(config, None, (64, 64), 1, 'cpu', repeats=1)
    assert timing.forward_mib > 190


@pytest.mark.gpu
def test_on_a_gpu_memory_is_what_torch_has_allocated(config):
    timing = measure_timing(config, None, (64, 64), 2, 'cuda', repeats=3)
    assert 0 < timing.forward_mib < timing.train_mib


@needs_linux
def test_a_tissue_head_is_trained_too(config):
    heads = dict(type='CrossEntropyLoss', loss_weight=0.1)
    options = {'model.backbone.out_cls_token': True,
               'model.decode_head.tissue_classes': ['Colon', 'Skin'],
               'model.decode_head.loss_tissue': heads}
    assert measure_timing(config, options, (64, 64), 1, 'cpu', 1).train_step_s > 0
