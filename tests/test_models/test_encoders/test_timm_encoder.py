# Copyright (c) CellVTA-MMSeg contributors.
import copy

import pytest
import timm
import torch
from mmengine.runner.checkpoint import load_state_dict as mmengine_load
from safetensors.torch import save_file
from tiny_models import DIMS, ENCODER

from mmseg_cellvta.models.encoders import TimmEncoder

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


def test_local_file_fills_every_tensor_but_the_classifier(weights):
    encoder = TimmEncoder(**ENCODER, weights=str(weights))
    saved = torch.load(weights, weights_only=True)
    assert_same(
        vit_tensors(encoder),
        {key: value for key, value in saved.items() if not key.startswith('head')})


def test_safetensors_file_loads_too(weights, tmp_path):
    path = tmp_path / 'vit.safetensors'
    save_file(torch.load(weights, weights_only=True), path)
    assert_same(
        vit_tensors(TimmEncoder(**ENCODER, weights=str(path))),
        vit_tensors(TimmEncoder(**ENCODER, weights=str(weights))))


def test_position_embedding_of_another_image_size_is_resampled(weights):
    encoder = TimmEncoder(**{**ENCODER, 'img_size': 128}, weights=str(weights))
    assert encoder.vit.pos_embed.shape == (1, 1 + 8 * 8, DIMS)


def test_tokens_follow_the_size_of_the_image():
    encoder = TimmEncoder(**ENCODER)
    assert encoder.embed(torch.randn(1, 3, 48, 80)).shape == (1, 1 + 3 * 5, DIMS)


def test_blocks_give_the_features_of_timm_itself(weights):
    encoder = TimmEncoder(**ENCODER, weights=str(weights)).eval()
    vit = timm.create_model(ENCODER['name'], num_classes=5, **FRESH).eval()
    vit.load_state_dict(torch.load(weights, weights_only=True))
    image = torch.randn(1, 3, 64, 64)
    tokens = encoder.run_blocks(encoder.embed(image), 0, 2)
    tokens = encoder.run_blocks(tokens, 2, 4)
    torch.testing.assert_close(encoder.take_norm()(tokens), vit.forward_features(image))


def test_frozen_encoder_stays_in_eval_mode_without_gradients():
    encoder = TimmEncoder(**ENCODER).train()
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())


def test_unfrozen_encoder_trains():
    encoder = TimmEncoder(**ENCODER, frozen=False).train()
    assert encoder.vit.blocks[0].training
    assert all(p.requires_grad for p in encoder.parameters())


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


@pytest.mark.parametrize(
    'changes', [dict(frozen=False), dict(weights=None)])
def test_weights_that_nothing_else_holds_are_saved(weights, changes):
    encoder = TimmEncoder(**{**ENCODER, 'weights': str(weights), **changes})
    assert 'vit.blocks.0.attn.qkv.weight' in encoder.state_dict()


@pytest.mark.parametrize('load', [
    lambda module, state: module.load_state_dict(state),
    lambda module, state: mmengine_load(module, state, strict=True)
])
def test_slim_state_loads_strictly_and_keeps_the_encoder(weights, load):
    model = torch.nn.ModuleDict(
        dict(encoder=TimmEncoder(**ENCODER, weights=str(weights))))
    before = vit_tensors(model['encoder'])
    load(model, model.state_dict())
    assert_same(vit_tensors(model['encoder']), before)


@pytest.mark.parametrize('load', [
    lambda module, state: module.load_state_dict(state),
    lambda module, state: mmengine_load(module, state)
])
def test_slim_state_of_another_encoder_fails_loudly(weights, load):
    encoder = TimmEncoder(**ENCODER, weights=str(weights))
    with pytest.raises(ValueError, match='trained on another encoder.*encoder.weights'):
        load(TimmEncoder(**ENCODER), encoder.state_dict())


def test_full_state_of_another_architecture_fails_loudly():
    state = TimmEncoder(**ENCODER).state_dict()
    with pytest.raises(ValueError, match='another encoder.*expected.*encoder.name'):
        TimmEncoder(**{**ENCODER, 'embed_dim': 64}).load_state_dict(state)


def test_copy_for_ema_keeps_the_encoder_and_stays_slim(weights):
    encoder = copy.deepcopy(TimmEncoder(**ENCODER, weights=str(weights)))
    encoder.load_state_dict(encoder.state_dict())
    assert list(encoder.state_dict()) == ['fingerprint']


def test_missing_file_says_what_to_set():
    with pytest.raises(FileNotFoundError, match='no/uni.bin.*encoder.weights'):
        TimmEncoder(**ENCODER, weights='no/uni.bin')


def test_truncated_file_is_named(weights):
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(ValueError, match='vit.pth: not a readable weight file'):
        TimmEncoder(**ENCODER, weights=str(weights))


def test_weights_of_another_width_name_the_tensor_and_both_shapes(weights):
    with pytest.raises(ValueError, match=r'has shape \(1, 1, 32\).*expects.*64'):
        TimmEncoder(**{**ENCODER, 'embed_dim': 64}, weights=str(weights))


def test_weights_that_lack_tensors_are_refused(weights):
    state = torch.load(weights, weights_only=True)
    state.pop('blocks.3.mlp.fc1.weight')
    torch.save(state, weights)
    with pytest.raises(ValueError, match='1 of .*missing.*blocks.3.mlp.fc1.weight'):
        TimmEncoder(**ENCODER, weights=str(weights))


def test_hub_that_cannot_be_reached_names_page_and_way_out(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError('401 Client Error: gated\nmore lines')

    monkeypatch.setattr(
        'mmseg_cellvta.models.encoders.weights.load_state_dict_from_hf', refuse)
    with pytest.raises(RuntimeError) as error:
        TimmEncoder(**ENCODER, weights='hf-hub:MahmoodLab/UNI')
    message = str(error.value)
    assert 'https://huggingface.co/MahmoodLab/UNI' in message
    assert 'hf auth login' in message and '401 Client Error: gated' in message
    assert '\n' not in message


def test_hub_weights_are_those_of_the_page(monkeypatch, weights):
    asked = []

    def serve(repository, **kwargs):
        asked.append(repository)
        return torch.load(weights, weights_only=True)

    monkeypatch.setattr(
        'mmseg_cellvta.models.encoders.weights.load_state_dict_from_hf', serve)
    encoder = TimmEncoder(**ENCODER, weights='hf-hub:owner/page')
    assert asked == ['owner/page']
    assert_same(
        vit_tensors(encoder), vit_tensors(TimmEncoder(**ENCODER, weights=str(weights))))


@pytest.mark.parametrize(('name', 'message'), [
    ('resnet18', "encoder.name='resnet18' is no ViT.*encoders.md"),
    ('vit_relpos_small_patch16_224', 'is no ViT that can be opened'),
    ('vit_of_nowhere', "encoder.name='vit_of_nowhere' is neither.*UNI2-h"),
    ('vit_small_patch16_rope_mixed_224', 'rotations that differ from block'),
])
def test_model_that_is_no_known_vit_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        TimmEncoder(name)


@pytest.mark.parametrize('argument', [
    dict(mlp_layer='SwiGLUpacked'), dict(depht=4), dict(act_layer='silly')])
def test_wrong_argument_of_the_timm_model_is_named(argument):
    with pytest.raises(ValueError, match='timm cannot build it.*correct its arguments'):
        TimmEncoder(**ENCODER, **argument)


def test_name_of_the_table_brings_its_arguments_and_takes_others():
    encoder = TimmEncoder('UNI2-h', embed_dim=32, depth=4, num_heads=2)
    assert (encoder.embed_dims, encoder.num_blocks) == (32, 4)
    assert (encoder.patch_size, encoder.num_prefix_tokens) == (14, 9)
    assert type(encoder.vit.blocks[0].mlp).__name__ == 'GluMlp'  # SwiGLU, packed


def test_published_weights_are_asked_for_where_the_table_says(monkeypatch):
    asked = []

    def refuse(repository, **kwargs):
        asked.append((repository, kwargs))
        raise OSError('offline')

    monkeypatch.setattr(
        'mmseg_cellvta.models.encoders.weights.load_state_dict_from_hf', refuse)
    for name in ('UNI2-h', 'GPFM'):
        with pytest.raises(RuntimeError, match=r'https://huggingface.co/\w+/\S+ and'):
            TimmEncoder(name, weights='published', embed_dim=32, depth=4, num_heads=2)
    with pytest.raises(RuntimeError, match='hf-hub:UNI: .*could not be fetched'):
        TimmEncoder(**ENCODER, weights='hf-hub:UNI')
    assert asked == [
        ('MahmoodLab/UNI2-h', dict(weights_only=True)),
        ('majiabo/GPFM', dict(weights_only=True, filename='GPFM.pth')),
        ('UNI', dict(weights_only=True)),
    ]


def test_timm_model_has_no_published_weights():
    with pytest.raises(ValueError, match="weights='published': vit_tiny.*hf-hub"):
        TimmEncoder(**ENCODER, weights='published')


def grey_cells(rows, columns, cell=16):
    """An image (1, 3, rows * cell, columns * cell) of cells of one grey each."""
    grey = torch.rand(1, 1, rows, columns)
    return grey.repeat_interleave(cell, 2).repeat_interleave(cell, 3).expand(-1, 3, -1,
                                                                             -1)


def best_shift(token_map, image, axis, cell=16):
    """Shift in tokens at which the tokens tell most of the grey under them."""
    shifts = [step / 8 for step in range(-8, 9)]
    inner = token_map[..., 1:-1, 1:-1].flatten(2)[0]
    scores = []
    for shift in shifts:
        moved = image[:, :1].roll(-round(shift * cell), axis)
        grey = torch.nn.functional.avg_pool2d(moved, cell)[..., 1:-1, 1:-1].flatten()
        both = torch.corrcoef(torch.cat([grey[None], inner]))
        scores.append(both[0, 1:].abs().mean().item())
    return shifts[scores.index(max(scores))]


@pytest.mark.parametrize('patch', [8, 14, 16])
@pytest.mark.parametrize('axis', [2, 3])
def test_tokens_lie_over_their_16_px_whatever_the_patch(patch, axis):
    encoder = TimmEncoder(**ENCODER, patch_size=patch)
    torch.nn.init.zeros_(encoder.vit.pos_embed)
    image = grey_cells(14, 20)
    tokens = encoder.embed(image)[:, 1:]
    assert tokens.shape[1] == 14 * 20
    token_map = tokens.mT.unflatten(2, (14, 20))
    assert abs(best_shift(token_map, image, axis)) < 0.5
    # The measure sees a grid that is off by a token.
    shifted = best_shift(token_map.roll(1, axis), image, axis)
    assert abs(shifted) > 0.5


def test_scaling_for_patches_of_14_px_blurs_all_pixels_alike(monkeypatch):
    encoder = TimmEncoder(**ENCODER, patch_size=14)
    seen = []
    monkeypatch.setattr(
        encoder.family, 'embed', lambda vit, inputs: seen.append(inputs))
    encoder.embed(torch.randn(4, 3, 256, 256))
    assert seen[0].shape == (4, 3, 224, 224)
    # Eight columns become seven. Of noise the most blurred column keeps 0.88 of the
    # spread of the sharpest; without antialiasing 0.76.
    spread = seen[0].unflatten(3, (32, 7)).std(dim=(0, 1, 2, 3))
    assert spread.min() / spread.max() > 0.82
