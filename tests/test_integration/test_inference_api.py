# Copyright (c) CellVTA-MMSeg contributors.
"""MMSegmentation's own `init_model` and `inference_model` take our configs."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmseg.apis import inference_model, init_model

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cfg():
    cfg = Config.fromfile(ROOT / 'configs/cellvta_tiny_synthetic.py')
    cfg.model.backbone.encoder.update(embed_dim=32, depth=4)
    cfg.model.decode_head.update(in_channels=[3, 32, 32, 32, 32], channels=2)
    return cfg


@pytest.fixture
def model(cfg, tmp_path):
    meta = dict(dataset_meta=dict(classes=('background', 'a'), palette=[[0] * 3] * 2))
    torch.save(
        dict(meta=meta, state_dict=MODELS.build(cfg.model).state_dict()),
        tmp_path / 'model.pth')
    return init_model(cfg, str(tmp_path / 'model.pth'), device='cpu')


@pytest.mark.parametrize('height, width', [(64, 64), (70, 101)])
def test_arrays_and_paths_give_the_same_nuclei_at_the_size_of_the_image(
        model, tmp_path, height, width):
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'cells.png'), image)
    # In this order: for an array, MMSegmentation changes the model's pipeline for good.
    of_path = inference_model(model, str(tmp_path / 'cells.png'))
    of_array = inference_model(model, image)
    assert of_array.pred_inst_map.shape == (height, width)
    assert torch.equal(of_array.pred_inst_map.data, of_path.pred_inst_map.data)
    assert of_path.sample_name == 'cells'


def test_a_checkpoint_for_other_classes_is_refused(cfg, model, tmp_path):
    cfg.model.decode_head.num_classes = 5
    with pytest.raises(ValueError, match='predicts 7 .*the model 5'):
        init_model(cfg, str(tmp_path / 'model.pth'), device='cpu')
