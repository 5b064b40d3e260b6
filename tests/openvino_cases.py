# Copyright (c) CellVTA-MMSeg contributors.
"""OpenVINO's maps are those of torch, or it is refused; see `test_openvino_network`."""
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import BACKBONE, ENCODERS, SEGMENTOR, build, randomize

from mmseg_cellvta.inference import CellInferencer
from mmseg_cellvta.inference.network import TileNetwork
from mmseg_cellvta.inference.openvino_network import OpenVINONetwork

TILE = 48, 80  # px
WITHOUT_PYRAMID = dict(conv_pyramid=False, injection_stages=())  # fewer layers


@pytest.fixture
def openvino():
    return pytest.importorskip('openvino', reason='the extra "openvino" is missing')


def tiny_model(**backbone):
    model = build(SEGMENTOR, backbone=dict(BACKBONE, **backbone))
    randomize(model).switch_to_deploy()
    return model


# Positions are brought to the size of tiles for both; images too for patches of 14 px.
@pytest.mark.parametrize('backbone', [
    dict(encoder=ENCODERS['registers']),
    dict(WITHOUT_PYRAMID, encoder=ENCODERS['sam'])])
def test_maps_and_tokens_are_those_of_torch(openvino, backbone):
    model = tiny_model(**backbone)
    network = OpenVINONetwork(model, TILE, with_tokens=True)
    for size, most in ((TILE, 1e-4), ((32, 80), 0)):  # the latter is left to torch
        pixels = np.random.default_rng(1).integers(256, size=(2, *size, 3), dtype='u1')
        expected = TileNetwork(model, with_tokens=True)(pixels)
        for values, same in zip(network(pixels), expected, strict=True):
            torch.testing.assert_close(values, same, rtol=0, atol=most)


def test_half_precision_is_close(openvino):
    if 'BF16' not in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        pytest.skip('this processor does not know bfloat16')
    model = tiny_model(**WITHOUT_PYRAMID)
    pixels = np.random.default_rng(1).integers(256, size=(1, *TILE, 3), dtype='u1')
    full, _ = TileNetwork(model)(pixels)
    half, _ = OpenVINONetwork(model, TILE, amp=True)(pixels)
    assert half.dtype == torch.float32 and (half - full).abs().max() > 1e-4
    torch.testing.assert_close(half, full, rtol=0, atol=0.1)


def test_half_precision_needs_a_processor_that_knows_it(
        openvino, rule_model, monkeypatch):
    monkeypatch.setattr(openvino, 'Core', lambda: SimpleNamespace(
        get_property=lambda *names: ['FP32']))
    with pytest.raises(ValueError, match='does not know bfloat16; leave out amp'):
        CellInferencer(*rule_model, num_workers=0, amp=True, backend='openvino')


def test_what_a_trace_does_not_see_is_refused(openvino):
    """Else the first tile would decide on all others."""
    model = tiny_model(**WITHOUT_PYRAMID)
    model.backbone.register_forward_hook(lambda backbone, inputs, maps: tuple(
        values + float(inputs[0][0, 0, 0, 0]) for values in maps))
    with pytest.raises(ValueError, match=r'OpenVINO 20.*maps of a tile .* apart from'):
        OpenVINONetwork(model, TILE)


def test_a_network_beyond_torch_is_refused(openvino, rule_model):
    with pytest.raises(ValueError, match=r'OpenVINO 20.* cannot compute this network'):
        CellInferencer(*rule_model, num_workers=0, backend='openvino')


def test_without_openvino_the_package_is_named(rule_model, monkeypatch):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(ImportError, match='run pip install openvino'):
        CellInferencer(*rule_model, num_workers=0, backend='openvino')


@pytest.mark.parametrize(('options', 'said'), [
    (dict(backend='onnx'), "backend='onnx': expected one of"),
    (dict(backend='openvino', device='cuda:0'), "is for processors: .*'cuda:0'")])
def test_what_cannot_be_had_is_refused(rule_model, options, said):
    with pytest.raises(ValueError, match=said):
        CellInferencer(*rule_model, num_workers=0, **options)
