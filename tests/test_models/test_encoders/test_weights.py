# Copyright (c) CellVTA-MMSeg contributors.
"""Weights of `transformers`: here a timm ViT gets their names, by a table of its own.

Compared once with transformers 4.57.6: `ViTModel`, `Dinov2Model` (GELU and SwiGLU) and
`Dinov2WithRegistersModel` with random weights give our tokens within 2e-6.
"""
import re

import pytest
import timm
import torch
from tiny_models import DIMS, ENCODERS

from mmseg_cellvta.models.encoders import TimmEncoder

TINY = dict(embed_dim=DIMS, depth=4, num_heads=2, img_size=64)
LAYERSCALE = dict(init_values=1.0)
SWIGLU = dict(mlp_layer='SwiGLUPacked', act_layer='silu', mlp_ratio=5.5)
REGISTERS = dict(reg_tokens=4, no_embed_class=True)
EMBEDDINGS = {
    'patch_embed.proj.weight': 'embeddings.patch_embeddings.projection.weight',
    'patch_embed.proj.bias': 'embeddings.patch_embeddings.projection.bias',
    'cls_token': 'embeddings.cls_token',
    'pos_embed': 'embeddings.position_embeddings',
    'reg_token': 'embeddings.register_tokens',
    'norm.weight': 'layernorm.weight',
    'norm.bias': 'layernorm.bias',
}
BLOCKS = dict(
    vit={
        'norm1': 'layernorm_before', 'norm2': 'layernorm_after',
        'attn.proj': 'attention.output.dense', 'mlp.fc1': 'intermediate.dense',
        'mlp.fc2': 'output.dense'
    },
    dinov2={
        'norm1': 'norm1', 'norm2': 'norm2', 'attn.proj': 'attention.output.dense',
        'mlp.fc1': 'mlp.fc1', 'mlp.fc2': 'mlp.fc2', 'ls1': 'layer_scale1',
        'ls2': 'layer_scale2'
    },
    swiglu={
        'norm1': 'norm1', 'norm2': 'norm2', 'attn.proj': 'attention.output.dense',
        'mlp.fc1': 'mlp.weights_in', 'mlp.fc2': 'mlp.weights_out',
        'ls1': 'layer_scale1', 'ls2': 'layer_scale2'
    })


def to_transformers(state, layout):
    """The state dict of a timm ViT with the names of transformers."""
    renamed = {}
    for key, value in state.items():
        if key in EMBEDDINGS:
            renamed[EMBEDDINGS[key]] = value
            continue
        _, block, *part, kind = key.split('.')
        layer = f'encoder.layer.{block}.'
        if part == ['attn', 'qkv']:
            for name, third in zip(('query', 'key', 'value'), value.chunk(3),
                                   strict=True):
                renamed[f'{layer}attention.attention.{name}.{kind}'] = third
        else:
            kind = kind.replace('gamma', 'lambda1')
            renamed[f'{layer}{BLOCKS[layout][".".join(part)]}.{kind}'] = value
    return renamed


def tiny_vit(**arguments):
    if 'mlp_layer' in arguments:
        arguments['mlp_layer'] = timm.layers.SwiGLUPacked
    vit = timm.create_model('vit_base_patch16_224', num_classes=0, **TINY, **arguments)
    for parameter in vit.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return vit.eval()


@pytest.mark.parametrize('layout, arguments', [
    ('vit', {}), ('dinov2', LAYERSCALE), ('swiglu', {**LAYERSCALE, **SWIGLU})])
@pytest.mark.parametrize('prefix', ['', 'vit.'])
def test_weights_give_the_tokens_of_the_vit_that_they_are_of(
        layout, arguments, prefix, tmp_path):
    vit = tiny_vit(**arguments)
    state = {prefix + key: value
             for key, value in to_transformers(vit.state_dict(), layout).items()}
    state['pooler.dense.weight'] = torch.zeros(DIMS, DIMS)  # of no use here
    if layout != 'vit':
        state[prefix + 'embeddings.mask_token'] = torch.zeros(1, DIMS)
    torch.save(state, tmp_path / 'model.pth')
    encoder = TimmEncoder('vit_base_patch16_224', str(tmp_path / 'model.pth'), **TINY,
                          **arguments).eval()
    image = torch.randn(1, 3, 64, 64)
    tokens = encoder.run_blocks(encoder.embed(image), 0, 4)
    torch.testing.assert_close(
        encoder.take_norm()(tokens), vit.forward_features(image))


def test_registers_share_no_position_with_the_class_token(tmp_path):
    vit = tiny_vit(**LAYERSCALE, **REGISTERS)
    state = to_transformers(vit.state_dict(), 'dinov2')
    # There the class token has a place in the positions, which timm adds to it once.
    place = torch.randn(1, 1, DIMS)
    state['embeddings.cls_token'] = state['embeddings.cls_token'] - place
    state['embeddings.position_embeddings'] = torch.cat(
        [place, state['embeddings.position_embeddings']], dim=1)
    state['embeddings.mask_token'] = torch.zeros(1, DIMS)
    torch.save(state, tmp_path / 'model.pth')
    encoder = TimmEncoder('vit_base_patch16_224', str(tmp_path / 'model.pth'), **TINY,
                          **LAYERSCALE, **REGISTERS)
    for key, value in encoder.vit.state_dict().items():
        torch.testing.assert_close(value, vit.state_dict()[key], msg=key)


def test_weights_without_a_value_projection_are_refused(tmp_path):
    state = to_transformers(tiny_vit().state_dict(), 'vit')
    del state['encoder.layer.2.attention.attention.value.bias']
    torch.save(state, tmp_path / 'model.pth')
    with pytest.raises(ValueError, match='model.pth: 1 of.*blocks.2.attn.qkv.bias'):
        TimmEncoder('vit_base_patch16_224', str(tmp_path / 'model.pth'), **TINY)


def read(path, **arguments):
    return TimmEncoder('vit_base_patch16_224', str(path), **TINY, **arguments)


def assert_holds(encoder, vit):
    for key, value in vit.state_dict().items():
        torch.testing.assert_close(encoder.vit.state_dict()[key], value, msg=key)


@pytest.mark.parametrize('prefix', [
    'teacher.', 'backbone.', 'model.', 'trunk.', 'module.', 'encoder.',
    'teacher.backbone.', 'module.backbone.', 'model.encoder.', 'module.model.trunk.',
    'teacher.module.backbone.', 'visual.trunk.', 'some.lightning.net_0.'])
def test_what_stands_before_the_names_is_left_out(prefix, tmp_path):
    vit = tiny_vit()
    state = {prefix + key: value for key, value in vit.state_dict().items()}
    state['head.last_layer.weight'] = torch.zeros(3, DIMS)  # of the training
    torch.save(state, tmp_path / 'model.pth')
    assert_holds(read(tmp_path / 'model.pth'), vit)


@pytest.mark.parametrize('names', [
    ['encoder'], ['model_state_dict'], ['net', 'teacher'], ['trunk', 'module']])
def test_an_encoder_in_inner_dictionaries_is_found(names, tmp_path):
    vit = tiny_vit()
    state = vit.state_dict()
    for name in reversed(names):
        state = {name: state, 'epoch': 3}
    torch.save(state, tmp_path / 'model.pth')
    assert_holds(read(tmp_path / 'model.pth'), vit)


def test_of_i_jepa_timm_takes_the_encoder(tmp_path):
    vit, target = tiny_vit(), tiny_vit()
    torch.save({name: {f'module.{key}': value for key, value in part.items()}
                for name, part in (('encoder', vit.state_dict()),
                                   ('target_encoder', target.state_dict()))},
               tmp_path / 'model.pth')
    assert_holds(read(tmp_path / 'model.pth'), vit)


@pytest.mark.parametrize('prefix', ['teacher.', 'teacher.backbone.', 'model.encoder.'])
@pytest.mark.parametrize('layout', ['dinov2', 'swiglu'])
def test_a_prefix_before_the_names_of_transformers_is_left_out(
        prefix, layout, tmp_path):
    arguments = {**LAYERSCALE, **(SWIGLU if layout == 'swiglu' else {})}
    vit = tiny_vit(**arguments)
    state = to_transformers(vit.state_dict(), layout)
    state['embeddings.mask_token'] = torch.zeros(1, DIMS)
    torch.save({prefix + key: value for key, value in state.items()},
               tmp_path / 'model.pth')
    assert_holds(read(tmp_path / 'model.pth', **arguments), vit)


@pytest.mark.parametrize('nested', [False, True])
def test_of_teacher_and_student_the_teacher_is_taken(nested, tmp_path):
    teacher, student = tiny_vit(**LAYERSCALE), tiny_vit(**LAYERSCALE)
    parts = {
        name: {f'backbone.{key}': value for key, value in vit.state_dict().items()}
        for name, vit in (('student', student), ('teacher', teacher))}
    parts['teacher']['backbone.mask_token'] = torch.zeros(1, DIMS)  # of DINOv2
    if not nested:
        parts = {f'{name}.{key}': value
                 for name, part in parts.items() for key, value in part.items()}
    torch.save(parts, tmp_path / 'model.pth')
    assert_holds(read(tmp_path / 'model.pth', **LAYERSCALE), teacher)


def test_blocks_in_chunks_are_numbered_through(tmp_path):
    vit = tiny_vit()
    state = {
        re.sub(r'^blocks\.(\d)', lambda m: f'blocks.{int(m[1]) // 2}.{m[1]}', key): x
        for key, x in vit.state_dict().items()}
    assert 'blocks.1.3.norm1.weight' in state
    torch.save({f'teacher.backbone.{key}': value for key, value in state.items()},
               tmp_path / 'model.pth')
    assert_holds(read(tmp_path / 'model.pth'), vit)


@pytest.mark.parametrize('prefix', ['image_encoder.', 'encoder.', 'a.image_encoder.'])
def test_sams_own_names_are_known_after_any_prefix(prefix, tmp_path):
    arguments = {key: value for key, value in ENCODERS['sam'].items() if key != 'name'}
    vit = TimmEncoder('SAM-B', **arguments).vit
    state = {
        prefix + key.replace('.mlp.fc', '.mlp.lin'): value
        for key, value in vit.state_dict().items()}
    torch.save(state, tmp_path / 'model.pth')
    assert_holds(TimmEncoder('SAM-B', str(tmp_path / 'model.pth'), **arguments), vit)


def keep_of_its_authors(state):
    renamed = {f'visual.{key.replace(".gamma", ".weight")}': value
               for key, value in state.items()}
    assert 'visual.blocks.3.ls2.weight' in renamed
    return {
        **renamed, 'logit_scale': torch.zeros(()),
        'visual_head.0.weight': torch.zeros(8, DIMS),
        'text.embeddings.word_embeddings.weight': torch.zeros(9, DIMS),
        'text.encoder.layer.0.attention.self.query.weight': torch.zeros(DIMS, DIMS)}


def conch_of_its_authors(state):
    renamed = {f'visual.trunk.{key}': value for key, value in state.items()}
    return {
        **renamed, 'logit_scale': torch.zeros(()),
        'visual.attn_pool_contrast.query': torch.zeros(1, DIMS),
        'visual.ln_contrast.weight': torch.zeros(DIMS),
        'text.positional_embedding': torch.zeros(9, DIMS)}


@pytest.mark.parametrize('arguments, rename', [
    (LAYERSCALE, keep_of_its_authors), ({}, conch_of_its_authors)])
def test_the_image_tower_of_a_vision_language_model_is_taken(
        arguments, rename, tmp_path):
    vit = tiny_vit(**arguments)
    torch.save(rename(vit.state_dict()), tmp_path / 'model.pth')
    assert_holds(read(tmp_path / 'model.pth', **arguments), vit)


def hibou_of_its_authors(vit):
    state = to_transformers(vit.state_dict(), 'swiglu')
    place = torch.randn(1, 1, DIMS)
    state['embeddings.cls_token'] = state['embeddings.cls_token'] - place
    state['embeddings.position_embeddings'] = torch.cat(
        [place, state['embeddings.position_embeddings']], dim=1)
    return {**state, 'embeddings.mask_token': torch.zeros(1, DIMS)}


@pytest.mark.parametrize('name', ['Hibou-B', 'Hibou-L'])
def test_hibou_is_named_as_in_transformers(name, tmp_path):
    arguments = {**TINY, 'mlp_ratio': 5.5}  # of the row: SwiGLU, registers
    vit = TimmEncoder(name, **arguments).vit
    for parameter in vit.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.save(hibou_of_its_authors(vit), tmp_path / 'model.pth')
    assert_holds(TimmEncoder(name, str(tmp_path / 'model.pth'), **arguments), vit)


def test_several_encoders_are_named(tmp_path):
    state = {f'module.{name}.{key}': value for name in ('base', 'momentum')
             for key, value in tiny_vit().state_dict().items()}
    torch.save(state, tmp_path / 'model.pth')
    with pytest.raises(ValueError, match='model.pth: holds 2 .*base., .*moment'):
        read(tmp_path / 'model.pth')
