# Copyright (c) CellVTA-MMSeg contributors.
"""Model folders and a frozen encoder on a hub, for the tests of several parts."""
import json

import pytest
import timm
import torch
from loopback_hub import hub  # noqa: F401
from mmengine.config import Config
from rule_segmentor import CONFIG
from safetensors.torch import save_file
from tiny_models import DIMS, build

from mmseg_cellvta.models.encoders import encoder_table
from mmseg_cellvta.publishing import publish_model

KWARGS = dict(embed_dim=DIMS, depth=4, num_heads=2, img_size=64, init_values=1e-5)


@pytest.fixture
def tiny_encoder(tmp_path, monkeypatch, hub):  # noqa: F811
    """The encoder `Tiny` of the table, whose page is on the loopback hub."""
    table = json.loads(encoder_table.TABLE_FILE.read_text())
    table['encoders'] = [dict(
        name='Tiny', architecture='vit_tiny_patch16_224', model_kwargs=KWARGS,
        page='lab/tiny', normalization='half', patch_size=16, embed_dims=DIMS,
        num_blocks=4, num_prefix_tokens=1, licence='CC-BY-NC-4.0', gated=True)]
    path = tmp_path / 'table.json'
    path.write_text(json.dumps(table))
    monkeypatch.setattr(encoder_table, 'TABLE_FILE', path)
    encoder_table.read_encoder_table.cache_clear()
    put_encoder(hub, tmp_path, seed=0)
    yield 'Tiny'
    encoder_table.read_encoder_table.cache_clear()


def put_encoder(hub, folder, seed):  # noqa: F811
    """Puts weights onto the encoder's page."""
    torch.manual_seed(seed)
    vit = timm.create_model('vit_tiny_patch16_224', num_classes=0, **KWARGS)
    save_file(vit.state_dict(), folder / 'vit.safetensors')
    hub.repositories['lab/tiny'] = {
        'model.safetensors': (folder / 'vit.safetensors').read_bytes()}


@pytest.fixture
def frozen_model(tmp_path, tiny_encoder):
    """Config and checkpoint of a model with the frozen encoder of the table."""
    config = json.loads(json.dumps(CONFIG))
    config['model']['backbone']['encoder'] = dict(
        name=tiny_encoder, weights='published', frozen=True)
    config.update(test_dataloader=dict(dataset=dict(metainfo=dict())), test_cfg={},
                  test_evaluator=dict(type='CellInstanceMetric'))
    path = tmp_path / 'frozen.pth'
    torch.save(dict(
        meta=dict(dataset_meta=dict(
            classes=('background', 'red', 'blue'),
            palette=[[0, 0, 0], [220, 30, 30], [30, 30, 220]])),
        state_dict=build(config['model']).state_dict()), path)
    return Config(config), path


@pytest.fixture
def published(rule_model, tmp_path):
    """A model folder without a foundation encoder."""
    return publish_model(Config.fromfile(rule_model[0]), rule_model[1],
                         tmp_path / 'nuclei')
