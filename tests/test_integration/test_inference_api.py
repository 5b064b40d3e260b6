# Copyright (c) CellVTA-MMSeg contributors.
"""MMSegmentation's own `init_model` and `inference_model` take our configs."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmseg.apis import MMSegInferencer, inference_model, init_model

from mmseg_cellvta.configuration.stock_inferencer import (
    add_stock_loader,
    without_stock_loader,
)

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


@pytest.mark.parametrize('concatenated', [False, True])
def test_the_stock_inferencer_gives_the_nuclei_of_the_stock_functions(
        cfg, model, tmp_path, concatenated):
    image = np.random.default_rng(0).integers(0, 255, (70, 101, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'cells.png'), image)
    expected = inference_model(model, str(tmp_path / 'cells.png'))
    if concatenated:
        cfg.test_dataloader.dataset = dict(
            type='ConcatDataset', datasets=[cfg.test_dataloader.dataset])
    cfg.dump(tmp_path / 'config.py')
    inferencer = MMSegInferencer(
        str(tmp_path / 'config.py'), str(tmp_path / 'model.pth'), device='cpu')
    for inputs in (str(tmp_path / 'cells.png'), image):
        found = inferencer(inputs, return_vis=True, out_dir=str(tmp_path / 'out'))
        assert np.array_equal(found['predictions'], expected.pred_sem_seg.data[0])
    sample = inferencer(str(tmp_path / 'cells.png'), return_datasamples=True)
    assert torch.equal(sample.pred_inst_map.data, expected.pred_inst_map.data)
    assert len([*(tmp_path / 'out/vis').iterdir()]) == 2
    of_tests = inferencer.cfg.test_dataloader.dataset  # can still be built
    assert ('pipeline' in dict(of_tests)) != concatenated


def test_images_are_read_as_everywhere_not_by_the_stock_loader(cfg, model, tmp_path):
    cfg.dump(tmp_path / 'config.py')
    inferencer = MMSegInferencer(
        str(tmp_path / 'config.py'), str(tmp_path / 'model.pth'), device='cpu')
    cv2.imwrite(str(tmp_path / 'deep.png'), np.full((64, 64, 3), 60000, np.uint16))
    with pytest.raises(ValueError, match='deep.png.*8 bits'):
        inferencer(str(tmp_path / 'deep.png'))


@pytest.mark.parametrize('config', ['cellvta_uni_conic', 'cellvta_uni_pannuke'])
def test_a_config_that_a_model_has_keeps_serves_data_sets_too(config):
    """The step for the inferencer is in it then."""
    cfg = Config.fromfile(ROOT / f'configs/{config}.py')
    before = list(cfg.test_dataloader.dataset.pipeline)
    for _ in range(2):
        add_stock_loader(cfg)
    pipeline = cfg.test_dataloader.dataset.pipeline
    assert pipeline == [dict(type='LoadImageFromFile'), *before]
    assert without_stock_loader(pipeline) == before == without_stock_loader(before)
    assert cfg.test_pipeline == before


def test_a_checkpoint_for_other_classes_is_refused(cfg, model, tmp_path):
    cfg.model.decode_head.num_classes = 5
    with pytest.raises(ValueError, match='predicts 7 .*the model 5'):
        init_model(cfg, str(tmp_path / 'model.pth'), device='cpu')
