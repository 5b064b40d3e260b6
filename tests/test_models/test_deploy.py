# Copyright (c) CellVTA-MMSeg contributors.
"""Both forms of a network give the same maps, at the border of the image too."""
import copy
import zlib

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from tiny_models import (
    BACKBONE,
    CLASSES,
    DIMS,
    ENCODERS,
    HEAD,
    SEGMENTOR,
    build,
    randomize,
    square_sample,
)
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_cellvta.models.decode_heads.hover_decode_head import conv_block
from mmseg_cellvta.models.deploy import FoldedConv, FoldedHalfLevel
from mmseg_cellvta.models.layers.row_sampling import LateProjection

TOKEN_MAPS = dict(in_strides=(1, 16, 16, 16, 16), bottleneck_conv=False)
RESNET = dict(
    type='ResNetV1c', depth=18, base_channels=8, stem_channels=8, num_stages=4,
    out_indices=(0, 1, 2, 3), strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2),
    norm_cfg=dict(type='BN'))
GROUPS = dict(type='GN', num_groups=1)
MODELS = dict(
    **{kind: dict(backbone=dict(BACKBONE, encoder=encoder))
       for kind, encoder in ENCODERS.items()},
    synced=dict(
        backbone=dict(BACKBONE, norm_cfg=dict(type='SyncBN')),
        decode_head=dict(HEAD, norm_cfg=dict(type='SyncBN'))),
    tissue=dict(
        backbone=dict(BACKBONE, out_cls_token=True),
        decode_head=dict(HEAD, tissue_classes=('Colon', 'Skin'))),
    without_pyramid=dict(
        backbone=dict(BACKBONE, conv_pyramid=False, injection_stages=())),
    without_injection=dict(backbone=dict(BACKBONE, injection_stages=(1, ))),
    norm_of_backbone=dict(backbone=dict(BACKBONE, norm_cfg=GROUPS)),
    norm_of_head=dict(decode_head=dict(HEAD, norm_cfg=GROUPS)),
    narrow_bottleneck=dict(decode_head=dict(HEAD, bottleneck_channels=6)),
    cellvit=dict(
        backbone=dict(type='ViTTokenMaps', encoder=ENCODERS['vit']),
        decode_head=dict(HEAD, **TOKEN_MAPS)),
    cellvit_sam=dict(
        backbone=dict(type='ViTTokenMaps', encoder=ENCODERS['sam']),
        decode_head=dict(HEAD, path_channels=(5, 7), **TOKEN_MAPS)),
    coarser_maps=dict(
        backbone=dict(type='ViTTokenMaps', encoder=ENCODERS['vit']),
        decode_head=dict(HEAD, in_strides=(1, 16, 16, 16, 16))),
    hovernet=dict(
        backbone=RESNET,
        decode_head=dict(
            HEAD, in_channels=[3, 8, 16, 32, 64], in_strides=(1, 4, 8, 16, 16))))


def both_forms(**changes):
    init_default_scope('mmseg')  # the fixture of conftest comes later
    normal = randomize(revert_sync_batchnorm(build(dict(SEGMENTOR, **changes))))
    folded = copy.deepcopy(normal)
    folded.switch_to_deploy()
    return normal, folded


@pytest.fixture(scope='module')
def forms():
    return both_forms()


@torch.no_grad()
def maps(model, *size):
    torch.manual_seed(1)
    return model(torch.randn(2, 3, *size), mode='tensor')


@pytest.mark.parametrize('name', MODELS)
def test_both_forms_give_the_same_maps(name):
    normal, folded = both_forms(**MODELS[name])
    left = [type(m).__name__ for m in folded.modules() if 'BatchNorm' in
            type(m).__name__]
    # Of the pyramid's four norms the maps of the other three need theirs.
    assert len(left) <= 4
    for size in ((32, 32), (48, 80)):
        expected = maps(normal, *size)
        for key, value in maps(folded, *size).items():
            torch.testing.assert_close(
                value, expected[key], rtol=1e-4, atol=1e-4, msg=lambda text, key=key: (
                    f'{key}: {text}'))


@pytest.mark.parametrize('size', [(16, 16), (16, 96), (128, 64)])
def test_any_grid_is_right_up_to_its_border(forms, size):
    normal, folded = forms
    expected = maps(normal, *size)
    for key, value in maps(folded, *size).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('height, width', [(1, 1), (1, 5), (7, 3)])
@pytest.mark.parametrize('skip_channels', [0, 4])
def test_a_convolution_over_an_enlarged_map_is_one_layer(height, width, skip_channels):
    up = nn.ConvTranspose2d(6, 5, 2, stride=2)
    conv = nn.Conv2d(skip_channels + 5, 3, 3, padding=1)
    folded = FoldedConv.from_layers(up.double(), conv.double())
    x = torch.randn(2, 6, height, width, dtype=torch.double)
    skip = torch.randn(2, skip_channels, 2 * height, 2 * width, dtype=torch.double)
    with torch.no_grad():
        result = folded(x, skip) if skip_channels else folded(x)
        torch.testing.assert_close(result, conv(torch.cat([skip, up(x)], dim=1)))


@pytest.mark.parametrize('height, width', [(1, 1), (1, 4), (5, 2)])
def test_the_half_level_is_exact_in_double_precision(height, width):
    fc1, up = nn.Conv2d(4, 6, 1), nn.ConvTranspose2d(6, 6, 2, stride=2)
    norm, conv = nn.BatchNorm2d(6), nn.Conv2d(6, 5, 3, padding=1)
    parts = [randomize(part).double() for part in (fc1, up, norm, conv)]
    with torch.no_grad():
        norm.weight[0] = 0  # a channel that the norm switches off
        half, quarter, vit_map = (
            torch.randn(2, channels, scale * height, scale * width, dtype=torch.double)
            for channels, scale in ((4, 8), (6, 4), (6, 1)))
        level = norm(fc1(half) + up(quarter) + F.interpolate(
            vit_map, scale_factor=8, mode='bilinear', align_corners=False))
        torch.testing.assert_close(
            FoldedHalfLevel(*parts)(vit_map, half, quarter), conv(level))


class Shapes(TorchDispatchMode):
    """Notes the shape of every map that is computed."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.seen.add(tuple(result.shape))
        return result


def test_the_wide_map_at_half_resolution_is_never_made(forms):
    seen = []
    for model in forms:
        with Shapes() as shapes:
            maps(model, 64, 96)
        seen.append((2, DIMS, 32, 48) in shapes.seen)
    assert seen == [True, False]


def test_injectors_project_what_they_have_sampled(forms):
    attentions = [block.injector.attn for block in forms[1].backbone.interactions]
    assert all(isinstance(attn, LateProjection) for attn in attentions)


def test_autocast_is_as_exact_in_both_forms(forms):
    exact = maps(forms[0], 48, 64)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        normal, folded = (maps(form, 48, 64) for form in forms)
    for key, value in exact.items():
        error, own = ((form[key] - value).square().mean() for form in (normal, folded))
        assert 0 < own < 2 * error


@torch.no_grad()
def test_torch_compile_sees_one_graph(forms):
    torch._dynamo.reset()
    compiled = torch.compile(forms[1], backend='eager', fullgraph=True)
    for key, value in maps(compiled, 48, 64).items():
        torch.testing.assert_close(value, maps(forms[1], 48, 64)[key])


@torch.no_grad()
def test_nuclei_are_the_same(forms):
    image = torch.rand(1, 3, 64, 64)
    results = []
    for model in forms:
        sample, = model.predict(image)
        results.append(sample.pred_inst_map.data)
    assert torch.equal(*results)


@torch.no_grad()
def test_reclassified_nuclei_are_the_same():
    normal, folded = both_forms(
        type='ReclassifyingSegmentor',
        cell_classifier=dict(type='CellClassifier', num_classes=4))
    image = torch.rand(1, 3, 64, 48)
    (ours, tokens), = folded.predict_maps(image, [square_sample()])
    (theirs, expected), = normal.predict_maps(image, [square_sample()])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-4)
    assert folded.predict(image)[0].pred_instances is not None


def test_switching_twice_and_from_training_mode_is_harmless():
    normal = randomize(build(SEGMENTOR))
    folded = copy.deepcopy(normal).train()
    folded.switch_to_deploy()
    folded.switch_to_deploy()
    assert not any(module.training for module in folded.modules())
    for key, value in maps(folded, 32, 48).items():
        torch.testing.assert_close(
            value, maps(normal, 32, 48)[key], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('deed, call', [
    ('trained', lambda model, state: model.train()),
    ('saved', lambda model, state: model.state_dict()),
    ('saved', lambda model, state: nn.Sequential(model).state_dict()),
    ('loaded', lambda model, state: model.load_state_dict(state)),
    ('loaded', lambda model, state: model.load_state_dict(state, strict=False)),
])
def test_the_folded_form_neither_trains_nor_meets_checkpoints(forms, deed, call):
    normal, folded = forms
    with pytest.raises(ValueError, match=f'cannot be {deed}; build the model anew'):
        call(folded, normal.state_dict())
    folded.eval()


def test_the_state_dict_of_the_normal_form_has_not_changed():
    """Weights of users depend on it; a new sum here is a break with all of them."""
    state = build(SEGMENTOR, decode_head=dict(num_classes=CLASSES)).state_dict()
    lines = sorted(f'{key} {tuple(value.shape)}' for key, value in state.items())
    assert (len(lines), zlib.crc32('\n'.join(lines).encode())) == (614, 170793374)


def test_a_block_with_another_norm_keeps_it():
    head = both_forms(**MODELS['norm_of_head'])[1].decode_head
    kinds = [type(m) for m in head.branches['np'].rests[1]]
    assert kinds[:2] == [nn.Sequential, type(conv_block(2, 2, GROUPS))]
    assert isinstance(head.branches['np'].rests[1][0][0], nn.GroupNorm)
