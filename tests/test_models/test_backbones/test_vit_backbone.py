# Copyright (c) CellVTA-MMSeg contributors.
"""What all backbones over a ViT share."""
import pytest
import torch
from tiny_models import BACKBONE, DIMS, ENCODER, build

BACKBONES = [
    BACKBONE, dict(type='ViTTokenMaps', encoder=dict(ENCODER, init_values=None))]


@pytest.mark.parametrize('backbone', BACKBONES)
def test_init_weights_leaves_every_tensor_bit_identical(backbone):
    model = build(backbone)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.init_weights()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize('backbone', BACKBONES)
@pytest.mark.parametrize('height, width', [(50, 64), (64, 50)])
def test_a_side_that_is_no_multiple_of_sixteen_is_refused_with_the_fix(
        backbone, height, width):
    with pytest.raises(ValueError, match=f'{height} x {width} px.*size_divisor=16'):
        build(backbone)(torch.randn(1, 3, height, width))


@pytest.mark.parametrize('encoder, missing', [
    (dict(name='vit_base_patch16_siglip_224'), 'attn_pool.latent'),
    (dict(name='vit_base_patch16_siglip_gap_224'), None),
    (dict(name='vit_so150m_patch16_reg4_map_256'), 'attn_pool.q.bias'),
    (dict(name='vit_base_patch16_224', global_pool='avg'), 'fc_norm.weight'),
    (dict(name='vit_base_patch16_rpn_224'), 'fc_norm.weight'),
    (dict(name='eva02_small_patch14_224'), 'fc_norm.bias'),
    (dict(name='vit_pe_core_base_patch16_224'), 'attn_pool.latent'),
    (dict(name='deit_base_distilled_patch16_224'), None),
    (dict(name='samvit_base_patch16_224', window_size=3), None),
])
@pytest.mark.parametrize('backbone', BACKBONES)
def test_every_trainable_parameter_gets_a_gradient(backbone, encoder, missing):
    """DistributedDataParallel ends a training that leaves one out."""
    tiny = dict(embed_dim=DIMS, depth=4, num_heads=2, frozen=False)
    model = build({**backbone, 'encoder': {**tiny, **encoder}}).train()
    if missing:
        assert not dict(model.encoder.vit.named_parameters())[missing].requires_grad
    model.encoder.unfreeze()  # as UnfreezeEncoderHook
    outputs = model(torch.randn(2, 3, 64, 64))
    sum(output.square().sum() for output in outputs).backward()
    assert [name for name, parameter in model.named_parameters()
            if parameter.requires_grad and parameter.grad is None] == []
