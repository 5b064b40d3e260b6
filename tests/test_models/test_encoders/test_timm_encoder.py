# Copyright (c) CellVTA-MMSeg contributors.
import copy

import pytest
import timm
import torch
from mmengine.runner.checkpoint import load_state_dict as mmengine_load
from safetensors.torch import save_file
from tiny_models import DIMS, ENCODER

from mmseg_cellvta.models.encoders import TimmEncoder

HUB = 'mmseg_cellvta.models.encoders.weights.load_state_dict_from_hf'
FRESH = {key: value for key, value in ENCODER.items() if key != 'name'}


@pytest.fixture
def weights(tmp_path):
    """A file of a ViT with a classifier, as timm writes them."""
    torch.manual_seed(7)
    vit = timm.create_model(ENCODER['name'], num_classes=5, **FRESH)
    path = tmp_path / 'vit.pth'
    torch.save(vit.state_dict(), path)
    return path


def vit_tensors(encoder):
    return {key: value.clone() for key, value in encoder.vit.state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_file_fills_every_tensor_but_the_classifier(weights, suffix):
    state = torch.load(weights, weights_only=True)
    path = weights.with_suffix(f'.{suffix}')
    if suffix == 'safetensors':
        save_file(state, path)
    assert_same(
        vit_tensors(TimmEncoder(**ENCODER, weights=str(path))),
        {key: value for key, value in state.items() if not key.startswith('head')})


def test_position_embedding_of_another_image_size_is_resampled(weights):
    encoder = TimmEncoder(**{**ENCODER, 'img_size': 128}, weights=str(weights))
    assert encoder.vit.pos_embed.shape == (1, 1 + 8 * 8, DIMS)


@pytest.mark.parametrize('frozen', [True, False])
def test_a_frozen_encoder_stays_in_eval_mode_without_gradients(frozen):
    encoder = TimmEncoder(**ENCODER, frozen=frozen).train()
    assert {block.training for block in encoder.vit.blocks} == {not frozen}
    assert {p.requires_grad for p in encoder.parameters()} == {not frozen}


def test_stochastic_depth_acts_in_a_frozen_encoder_that_asks_for_it():
    encoder = TimmEncoder(**{**ENCODER, 'init_values': None}, drop_path_rate=0.9)
    tokens = encoder.embed(torch.randn(8, 3, 64, 64))
    encoder.train()
    assert not encoder.vit.blocks[3].training
    assert not torch.equal(
        encoder.run_blocks(tokens, 0, 4), encoder.run_blocks(tokens, 0, 4))
    encoder.eval()
    torch.testing.assert_close(
        encoder.run_blocks(tokens, 0, 4), encoder.run_blocks(tokens, 0, 4))


def test_taken_norm_is_trainable_and_leaves_the_frozen_part():
    encoder = TimmEncoder(**ENCODER)
    assert encoder.take_norm().weight.requires_grad
    assert not any(key.startswith('vit.norm.') for key in encoder.state_dict())


def test_frozen_weights_that_can_be_loaded_again_are_not_saved(weights):
    encoder = TimmEncoder(**ENCODER, weights=str(weights))
    assert list(encoder.state_dict()) == ['fingerprint']
    encoder = copy.deepcopy(encoder)  # as EMA does
    encoder.load_state_dict(encoder.state_dict())
    assert list(encoder.state_dict()) == ['fingerprint']
    encoder.unfreeze()
    assert 'vit.blocks.0.attn.qkv.weight' in encoder.state_dict()


@pytest.mark.parametrize('changes', [dict(frozen=False), dict(weights=None)])
def test_weights_that_nothing_else_holds_are_saved(weights, changes):
    encoder = TimmEncoder(**{**ENCODER, 'weights': str(weights), **changes})
    assert 'vit.blocks.0.attn.qkv.weight' in encoder.state_dict()


def test_frozen_weights_of_a_checkpoint_that_nothing_else_holds_are_saved(weights):
    """As of a run that unfroze its encoder, or a converted checkpoint."""
    trained = TimmEncoder(**ENCODER, weights=str(weights), frozen=False)
    torch.nn.init.normal_(trained.vit.blocks[1].mlp.fc1.weight)
    frozen = TimmEncoder(**ENCODER, weights=str(weights))
    frozen.load_state_dict(trained.state_dict())
    saved = frozen.state_dict()
    again = TimmEncoder(**ENCODER, weights=str(weights))
    again.load_state_dict(saved)
    assert_same(vit_tensors(again), vit_tensors(trained))
    frozen = TimmEncoder(**ENCODER, weights=str(weights))
    frozen.load_state_dict(
        TimmEncoder(**ENCODER, weights=str(weights), frozen=False).state_dict())
    assert list(frozen.state_dict()) == ['fingerprint']


@pytest.mark.parametrize('load', [torch.nn.Module.load_state_dict, mmengine_load])
def test_slim_state_loads_strictly_and_keeps_the_encoder_it_is_of(weights, load):
    encoder = TimmEncoder(**ENCODER, weights=str(weights))
    before = vit_tensors(encoder)
    model = torch.nn.ModuleDict(dict(encoder=encoder))
    load(model, model.state_dict(), strict=True)
    assert_same(vit_tensors(encoder), before)
    with pytest.raises(ValueError, match='trained on another encoder.*encoder.weights'):
        load(TimmEncoder(**ENCODER), encoder.state_dict())


def test_full_state_of_another_architecture_is_refused():
    state = TimmEncoder(**ENCODER).state_dict()
    with pytest.raises(ValueError, match='another encoder.*expected.*encoder.name'):
        TimmEncoder(**{**ENCODER, 'embed_dim': 64}).load_state_dict(state)


def without_a_tensor(path):
    state = torch.load(path, weights_only=True)
    state.pop('blocks.3.mlp.fc1.weight')
    torch.save(state, path)


@pytest.mark.parametrize(('spoil', 'changes', 'message'), [
    (lambda path: path.write_bytes(path.read_bytes()[:2000]), {},
     'vit.pth: not a readable weight file'),
    (without_a_tensor, {}, '1 of .*missing.*blocks.3.mlp.fc1.weight'),
    (lambda path: None, dict(embed_dim=64), r'has shape \(1, 1, 32\).*expects.*64'),
])
def test_a_file_that_does_not_fit_is_named_with_the_reason(
        weights, spoil, changes, message):
    spoil(weights)
    with pytest.raises(ValueError, match=message):
        TimmEncoder(**{**ENCODER, **changes}, weights=str(weights))


def test_missing_file_says_what_to_set():
    with pytest.raises(FileNotFoundError, match='no/uni.bin.*encoder.weights'):
        TimmEncoder(**ENCODER, weights='no/uni.bin')


@pytest.mark.parametrize(('name', 'weights', 'asked'), [
    (ENCODER['name'], 'hf-hub:owner/page', ('owner/page', {})),
    ('UNI2-h', 'published', ('MahmoodLab/UNI2-h', {})),
    ('GPFM', 'published', ('majiabo/GPFM', dict(filename='GPFM.pth'))),
    (ENCODER['name'], 'hf-hub:UNI', ('UNI', {})),
])
def test_hub_that_cannot_be_reached_names_page_and_way_out(
        monkeypatch, name, weights, asked):
    requests = []

    def refuse(repository, **kwargs):
        requests.append((repository, kwargs))
        raise OSError('401 Client Error: gated\nmore lines')

    monkeypatch.setattr(HUB, refuse)
    with pytest.raises(OSError) as error:
        TimmEncoder(name, weights, embed_dim=32, depth=4, num_heads=2)
    message = str(error.value)
    assert f'https://huggingface.co/{asked[0]} and' in message
    assert 'hf auth login' in message and '401 Client Error: gated' in message
    assert '\n' not in message
    assert requests == [(asked[0], dict(weights_only=True, **asked[1]))]


def test_hub_weights_are_those_of_the_page(monkeypatch, weights):
    monkeypatch.setattr(
        HUB, lambda repository, **kwargs: torch.load(weights, weights_only=True))
    assert_same(
        vit_tensors(TimmEncoder(**ENCODER, weights='hf-hub:owner/page')),
        vit_tensors(TimmEncoder(**ENCODER, weights=str(weights))))


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(name='resnet18'), "encoder.name='resnet18' is no ViT.*encoders.md"),
    (dict(name='vit_relpos_small_patch16_224'), 'is no ViT that can be opened'),
    (dict(name='vit_of_nowhere'), "encoder.name='vit_of_nowhere' is neither.*UNI2-h"),
    (dict(name='vit_small_patch16_rope_mixed_224'), 'rotations that differ from block'),
    (dict(weights='published'), "weights='published': vit_tiny.*hf-hub"),
    (dict(mlp_layer='SwiGLUpacked'), 'timm cannot build it.*correct its arguments'),
    (dict(depht=4), 'timm cannot build it.*correct its arguments'),
    (dict(act_layer='silly'), 'timm cannot build it.*correct its arguments'),
])
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TimmEncoder(**(arguments if 'name' in arguments else {**ENCODER, **arguments}))


def test_name_of_the_table_brings_its_arguments_and_takes_others():
    encoder = TimmEncoder('UNI2-h', embed_dim=32, depth=4, num_heads=2)
    assert (encoder.embed_dims, encoder.num_blocks) == (32, 4)
    assert (encoder.patch_size, encoder.num_prefix_tokens) == (14, 9)
    assert type(encoder.vit.blocks[0].mlp).__name__ == 'GluMlp'  # SwiGLU, packed
