# Copyright (c) CellVTA-MMSeg contributors.
import timm
import torch
from tiny_models import DIMS, ENCODER, build

from mmseg_cellvta.models.backbones.vit_token_maps import SamNeck

BACKBONE = dict(type='ViTTokenMaps', encoder=dict(ENCODER, init_values=None))


def test_maps_are_the_patch_tokens_after_each_quarter_of_the_blocks():
    model = build(BACKBONE, encoder=dict(depth=8)).eval()
    image = torch.randn(2, 3, 64, 96)
    found = model(image)
    tokens = model.encoder.vit._pos_embed(model.encoder.vit.patch_embed(image))
    for i, block in enumerate(model.encoder.vit.blocks, start=1):
        tokens = block(tokens)
        if i % 2 == 0:
            expected = tokens[:, 1:].transpose(1, 2).reshape(2, DIMS, 4, 6)
            torch.testing.assert_close(found[i // 2 - 1], expected)
    assert len(found) == 4


def test_class_token_has_passed_all_blocks_and_the_norm():
    model = build(BACKBONE, out_cls_token=True).eval()
    image = torch.randn(2, 3, 64, 64)
    encoder = model.encoder
    tokens = encoder.run_blocks(encoder.embed(image), 0, 4)
    torch.testing.assert_close(model(image)[-1], model.cls_norm(tokens[:, 0]))


def test_a_frozen_encoder_has_no_graph_and_an_open_one_trains_whole():
    assert not any(level.requires_grad for level in build(BACKBONE)(
        torch.randn(1, 3, 64, 64)))
    model = build(BACKBONE, encoder=dict(frozen=False))
    model(torch.randn(1, 3, 64, 64))[-1].square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_sam_gives_the_mean_of_its_neck_for_a_class_token():
    model = build(
        BACKBONE, out_cls_token=True,
        encoder=dict(name='samvit_base_patch16', init_values=0.0)).eval()
    *maps, vector = model(torch.randn(2, 3, 64, 64))
    assert [tuple(level.shape) for level in maps] == [(2, DIMS, 4, 4)] * 4
    torch.testing.assert_close(vector, model.neck(maps[-1]))
    assert vector.shape == (2, 256)


def test_neck_is_that_of_sam_averaged():
    theirs = timm.create_model(
        'samvit_base_patch16', num_classes=0, embed_dim=32, depth=1, num_heads=2).neck
    ours = SamNeck(32)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 32, 4, 6)
    torch.testing.assert_close(ours(x), theirs(x).mean(dim=(2, 3)))
