# Copyright (c) CellVTA-MMSeg contributors.
"""The baselines are as large as published, and train."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from tiny_training import make_runner

from mmseg_cellvta.utils.complexity import build_without_weights

ROOT = Path(__file__).resolve().parents[1]


def count(name):
    cfg = Config.fromfile(ROOT / f'configs/baselines/{name}.py')
    with torch.device('meta'):
        model = build_without_weights(cfg.model)
    return model, sum(p.numel() for p in model.parameters())


# Totals of the authors' training logs, each weight counted once.
@pytest.mark.parametrize(('size', 'width', 'depth', 'total'), [
    ('b', 768, 12, 146_094_557), ('h', 1280, 32, 699_741_149)])
def test_cellvit_sam_has_as_many_weights_as_in_its_authors_logs(
        size, width, depth, total):
    model, found = count(f'cellvit_sam_{size}_pannuke')
    head = model.decode_head
    skips = sum(p.numel() for p in head.skip_encoders.parameters())
    branches = sum(p.numel() for p in head.branches.parameters())
    # Blocks; position of 64 x 64 patches; patches; relative positions, of which four
    # blocks have 127 and the others 27 an axis; the neck.
    sam = depth * (12 * width**2 + 13 * width)
    sam += 4096 * width + 769 * width
    head_width = 64 if size == 'b' else 80
    sam += ((depth - 4) * 27 + 4 * 127) * 2 * head_width
    sam += 256 * width + 9 * 256**2 + 4 * 256
    tissues = 257 * 19
    assert sum(p.numel() for p in model.backbone.parameters()) == sam
    assert found == total == sam + skips + branches + tissues


def test_frozen_cellvit_sam_h_trains_what_its_log_says():
    model, _ = count('cellvit_sam_h_pannuke')
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # The log counts the neck, 918,528, among the frozen; here a tissue loss trains it.
    assert trained - 918_528 == 62_715_101


def test_a_small_hovernet_like_cnn_trains_two_steps(tmp_path):
    cfg = Config.fromfile(ROOT / 'configs/baselines/hovernet_r50_conic.py').model
    cfg.backbone.update(depth=18, base_channels=8, stem_channels=8)
    cfg.decode_head.update(channels=4, in_channels=[3, 8, 16, 32, 64])
    torch.manual_seed(0)
    model = build_without_weights(cfg)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    make_runner(tmp_path, model, epochs=2).train()
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())
