# Copyright (c) CellVTA-MMSeg contributors.
import pytest
import torch
from tiny_models import BACKBONE, DIMS, ENCODERS, build

from mmseg_cellvta.models.layers.interaction import Injector


def build_over(kind, encoder=(), **changes):
    """Builds the tiny adapter over one of the tiny encoders."""
    return build(dict(BACKBONE, encoder=dict(ENCODERS[kind], **dict(encoder))),
                 **changes)


def forward(model):
    torch.manual_seed(1)
    return model(torch.randn(2, 3, 64, 96))


@pytest.mark.parametrize('kind', ENCODERS)
def test_four_levels_at_half_to_a_sixteenth_over_every_kind_of_encoder(kind):
    levels = forward(build_over(kind))
    assert [tuple(level.shape) for level in levels] == [
        (2, DIMS, 32, 48), (2, DIMS, 16, 24), (2, DIMS, 8, 12), (2, DIMS, 4, 6)
    ]


@pytest.mark.parametrize('kind', ['vit', 'registers', 'patch8'])
def test_class_token_beside_the_blocks_does_not_see_the_image(kind):
    model = build_over(kind, out_cls_token=True, cls_token='beside').eval()
    *levels, (first, second) = forward(model)
    assert len(levels) == 4 and first.shape == (DIMS, )
    torch.testing.assert_close(first, second)


def test_class_token_in_the_blocks_sees_the_image():
    model = build(BACKBONE, out_cls_token=True, cls_token='in_blocks').eval()
    model.encoder.vit.blocks.apply(_undo_small_layer_scale)
    first, second = model(torch.randn(2, 3, 64, 64))[-1]
    assert (first - second).abs().max() > 1e-3


def _undo_small_layer_scale(module):
    if hasattr(module, 'gamma'):
        torch.nn.init.ones_(module.gamma)


def test_injector_that_starts_at_zero_leaves_the_vit_as_it_was():
    model = build(BACKBONE, injector_init=0.0).eval()
    without = build(BACKBONE, injection_stages=()).eval()
    without.load_state_dict({
        key: value
        for key, value in model.state_dict().items() if 'injector' not in key
    })
    for ours, theirs in zip(forward(model), forward(without), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_injector_that_starts_elsewhere_changes_the_features():
    changed = forward(build(BACKBONE, injector_init=1.0).eval())[3]
    assert (changed - forward(build(BACKBONE).eval())[3]).abs().max() > 1e-3


@pytest.mark.parametrize('stages', [(), (0, ), (1, 3), (0, 1, 2, 3)])
def test_only_the_named_stages_get_an_injector(stages):
    model = build(BACKBONE, injection_stages=stages)
    found = tuple(i for i, block in enumerate(model.interactions)
                  if isinstance(block.injector, Injector))
    assert found == stages


def test_without_pyramid_every_level_is_the_enlarged_vit_map():
    model = build(BACKBONE, conv_pyramid=False, injection_stages=())
    assert not hasattr(model, 'spatial_prior')
    assert [level.shape[2] for level in forward(model)] == [32, 16, 8, 4]


def test_offsets_start_on_rays_or_on_the_query():
    rays = build(BACKBONE).interactions[0].injector.attn.sampling_offsets
    zero = build(BACKBONE, offset_init='zero')
    zero = zero.interactions[0].injector.attn.sampling_offsets
    # Four heads point right, down, left, up; the points lie 1, 2, 3, 4 cells away.
    expected = torch.tensor([[1., 0], [0, 1], [-1, 0], [0, -1]])
    bias = rays.bias.view(4, 3, 4, 2)
    torch.testing.assert_close(bias[:, 0, 2], 3 * expected, atol=1e-5, rtol=0)
    assert rays.weight.abs().sum() == 0 and zero.bias.abs().sum() == 0
    assert 0.01 < zero.weight.std() < 0.03


def test_drop_path_of_the_adapter_acts_only_in_training():
    model = build(BACKBONE, drop_path_rate=0.9)
    image = torch.randn(4, 3, 64, 64)
    assert not torch.equal(model(image)[2], model(image)[2])
    model.eval()
    torch.testing.assert_close(model(image)[2], model(image)[2])


@pytest.mark.parametrize('kind', ENCODERS)
def test_training_step_leaves_a_frozen_encoder_bit_identical(kind):
    model = build_over(kind, injector_init=0.1).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    sum(level.square().sum() for level in forward(model)).backward()
    optimizer.step()
    changed = {key for key, value in model.state_dict().items()
               if not torch.equal(value, before[key])}
    assert not any(key.startswith('encoder.') for key in changed)
    # Gradients pass through the encoder, though not into it.
    assert 'interactions.0.injector.gamma' in changed


@pytest.mark.parametrize(('kind', 'frozen', 'changes'), [
    *((kind, frozen, dict(out_cls_token=kind != 'sam'))
      for kind in ENCODERS for frozen in (True, False)),
    ('vit', False, {}),  # without the ViT's last norm, which nothing reads then
    ('vit', True, dict(injection_stages=(1, ))),
    ('vit', True, dict(conv_pyramid=False, injection_stages=())),
    ('vit', True, dict(num_extra_extractors=0)),
])
def test_every_trainable_parameter_gets_a_gradient(kind, frozen, changes):
    model = build_over(kind, dict(frozen=frozen), injector_init=0.1, **changes)
    model.encoder.vit.blocks.apply(_undo_small_layer_scale)
    sum(output.square().sum() for output in forward(model)).backward()
    without = [name for name, parameter in model.named_parameters()
               if parameter.requires_grad and parameter.grad is None]
    assert without == []
    assert frozen == all(p.grad is None for p in model.encoder.parameters())


@pytest.mark.parametrize('kind, changes, message', [
    ('vit', dict(cls_token='inside'), "cls_token='inside'.*in_blocks"),
    ('vit', dict(offset_init='random'), "offset_init='random'.*directional"),
    ('vit', dict(injection_stages=(0, 4)), 'injection_stages=4'),
    ('vit', dict(conv_pyramid=False), 'nothing to inject'),
    ('vit', dict(deform_num_heads=5), 'cannot be divided among 5 heads'),
    ('rotary', dict(cls_token='beside'), "'beside': the blocks of DINOv3-S.*in_blocks"),
    ('sam', dict(cls_token='beside'), "'beside': the blocks of SAM-B.*in_blocks"),
    ('sam', dict(out_cls_token=True), 'SAM-B has no class token'),
])
def test_wrong_arguments_are_named_with_what_is_possible(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        build_over(kind, **changes)
