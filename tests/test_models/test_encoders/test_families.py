# Copyright (c) CellVTA-MMSeg contributors.
"""Every family gives the features of timm's own forward."""
import pytest
import timm
import torch
from tiny_models import DIMS, ENCODERS

from mmseg_cellvta.models.encoders import TimmEncoder
from mmseg_cellvta.models.encoders.families import EvaFamily, SamFamily, VitFamily

FAMILIES = dict(vit=VitFamily, registers=VitFamily, patch8=VitFamily, rotary=EvaFamily,
                sam=SamFamily)


def randomize(module):
    """Fresh models have positions and scales of zero, which would hide mistakes."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module.eval()


@pytest.mark.parametrize('kind', ENCODERS)
@pytest.mark.parametrize('height, width', [(64, 64), (112, 80)])
def test_tokens_are_those_of_timm_itself(kind, height, width):
    encoder = randomize(TimmEncoder(**ENCODERS[kind], frozen=False))
    assert encoder.family is FAMILIES[kind]
    grid = height // 16, width // 16
    image = torch.randn(2, 3, height, width)
    tokens = encoder.run_blocks(encoder.embed(image), 0, 1, grid)  # in two steps,
    tokens = encoder.vit.norm(encoder.run_blocks(tokens, 1, 4, grid))  # as the adapter
    size = [side * encoder.patch_size for side in grid]
    expected = encoder.vit.forward_features(
        torch.nn.functional.interpolate(
            image, size, mode='bilinear', antialias=True))
    if kind == 'sam':
        expected = expected.flatten(2).mT
    torch.testing.assert_close(tokens, expected)
    assert tokens.shape == (2, encoder.num_prefix_tokens + grid[0] * grid[1], DIMS)


def test_deit_is_a_vit_with_two_prefix_tokens():
    encoder = TimmEncoder('deit_tiny_distilled_patch16_224', depth=4)
    assert encoder.family is VitFamily and encoder.num_prefix_tokens == 2
    assert encoder.embed(torch.randn(1, 3, 48, 64)).shape == (1, 2 + 12, 192)


@pytest.mark.parametrize('kind', ['rotary', 'sam'])
def test_blocks_that_need_positions_ask_for_the_grid(kind):
    encoder = TimmEncoder(**ENCODERS[kind])
    tokens = encoder.embed(torch.randn(1, 3, 64, 64))
    with pytest.raises(AssertionError):
        encoder.run_blocks(tokens, 0, 4)


def sam_of_its_authors(state):
    renamed = {'image_encoder.' + key.replace('mlp.fc', 'mlp.lin'): value
               for key, value in state.items()}
    return {**renamed, 'mask_decoder.iou_token.weight': torch.zeros(1, 256)}


def dinov3_of_its_authors(state):
    renamed = {
        key.replace('reg_token', 'storage_tokens').replace(
            'gamma_1', 'ls1.gamma').replace('gamma_2', 'ls2.gamma'): value
        for key, value in state.items() if not key.startswith('head')
    }
    return {**renamed, 'rope_embed.periods': torch.zeros(4)}


@pytest.mark.parametrize(('kind', 'architecture', 'rename'), [
    ('sam', 'samvit_base_patch16', sam_of_its_authors),
    ('rotary', 'vit_small_patch16_dinov3', dinov3_of_its_authors)])
def test_weights_with_the_names_of_the_authors_load(
        kind, architecture, rename, tmp_path):
    arguments = {k: v for k, v in ENCODERS[kind].items() if k != 'name'}
    vit = randomize(timm.create_model(architecture, **arguments))
    torch.save(rename(vit.state_dict()), tmp_path / 'theirs.pth')
    encoder = TimmEncoder(**ENCODERS[kind], weights=str(tmp_path / 'theirs.pth'))
    for key, value in encoder.vit.state_dict().items():
        assert torch.equal(value, vit.state_dict()[key]), key


def test_rotations_are_made_once_per_grid():
    vit = TimmEncoder(**ENCODERS['rotary']).vit
    first = vit.rope.get_embed(shape=(4, 6))
    assert first.equal(vit.rope.rope.get_embed(shape=(4, 6)))
    assert vit.rope.get_embed(shape=(4, 6)) is first
    assert vit.rope.get_embed(shape=(6, 4)).shape == first.shape
    assert not vit.rope.get_embed(shape=(6, 4)).equal(first)
    assert not [key for key in vit.state_dict() if 'rope' in key]


def test_rotations_that_are_varied_in_training_are_drawn_anew():
    encoder = TimmEncoder(
        **ENCODERS['rotary'], frozen=False, rope_rescale_coords=2.0)
    rope = encoder.train().vit.rope
    if not getattr(rope.rope, 'aug_active', False):
        pytest.skip("this timm's DINOv3 knows no variation of places")
    assert not rope.get_embed(shape=(4, 6)).equal(rope.get_embed(shape=(4, 6)))
    rope.eval()
    assert rope.get_embed(shape=(4, 6)) is rope.get_embed(shape=(4, 6))
