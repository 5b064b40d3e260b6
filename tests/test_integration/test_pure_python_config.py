# Copyright (c) CellVTA-MMSeg contributors.
"""A config in MMEngine's pure Python style, with classes, goes through the tools."""
import pytest
import torch
from mmengine.config import Config
from run_tool import run_tool
from stained_folder import write_folder

from mmseg_cellvta.engine.cpu_amp_optim_wrapper import has_bfloat16

pytestmark = pytest.mark.integration
MODEL = """
from mmseg.models.losses import CrossEntropyLoss

from mmseg_cellvta.engine import (CellVisualizationHook, NormalizationHook,
                                  PlainCheckpointHook)
from mmseg_cellvta.models import (CellDataPreProcessor, CellSegmentor, CellTTAModel,
                                  CellVTAAdapter, HoverDecodeHead)
from mmseg_cellvta.models.losses import (HoverDiceLoss, HVMSELoss)
from mmseg_cellvta.visualization import CellVisualizer

default_scope = 'mmseg'
num_classes = 3
model = dict(
    type=CellSegmentor, mpp=0.5,
    data_preprocessor=dict(
        type=CellDataPreProcessor, bgr_to_rgb=True, size_divisor=16,
        test_cfg=dict(size_divisor=16)),
    backbone=dict(
        type=CellVTAAdapter, conv_channels=4, deform_num_heads=4,
        encoder=dict(name='vit_tiny_patch16_224', embed_dim=32, depth=4, num_heads=2,
                     img_size=64)),
    decode_head=dict(
        type=HoverDecodeHead, channels=2, num_classes=num_classes,
        loss_np=[dict(type=HoverDiceLoss)], loss_hv=[dict(type=HVMSELoss)],
        loss_nc=[dict(type=CrossEntropyLoss)]),
    test_cfg=dict(mode='whole'))
visualizer = dict(type=CellVisualizer)
tta_model = dict(type=CellTTAModel)
custom_hooks = [dict(type=NormalizationHook), dict(type=PlainCheckpointHook)]
default_hooks = dict(visualization=dict(type=CellVisualizationHook))
"""
LEAF = """
from mmcv.transforms import RandomFlip, TestTimeAug
from mmengine.config import read_base
from mmengine.dataset import ConcatDataset, DefaultSampler
from mmengine.optim import OptimWrapper
from torch.optim import AdamW

from mmseg_cellvta.datasets import CellFolderDataset
from mmseg_cellvta.datasets.transforms import (
    GenerateHoverTargets, LoadCellAnnotations, LoadCellImage, PackCellInputs,
    ResizeToMpp)
from mmseg_cellvta.evaluation import CellInstanceMetric

with read_base():
    from ._base_.model import *

data_root = 'nowhere'
load = [dict(type=LoadCellImage), dict(type=ResizeToMpp),
        dict(type=LoadCellAnnotations)]
train_pipeline = [*load, dict(type=GenerateHoverTargets), dict(type=PackCellInputs)]
test_pipeline = [*load, dict(type=PackCellInputs)]
tta_pipeline = [
    dict(type=LoadCellImage),
    dict(type=TestTimeAug, transforms=[
        [dict(type=ResizeToMpp)],
        [dict(type=RandomFlip, prob=1.0, direction='diagonal')],
        [dict(type=LoadCellAnnotations)], [dict(type=PackCellInputs)]])]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(type=CellFolderDataset, data_root=data_root, ann_file='train.txt',
                 pipeline=train_pipeline))
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(type=ConcatDataset, datasets=[
        dict(type=CellFolderDataset, data_root=data_root, ann_file='test.txt',
             test_mode=True, pipeline=test_pipeline)]))
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=AdamW, lr=1e-3))
train_cfg = dict(by_epoch=True, max_epochs=1)
test_cfg = dict()
test_evaluator = [dict(type=CellInstanceMetric)]
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason='looks at training on a CPU')
def test_training_testing_and_inference(tmp_path, monkeypatch, capsys):
    write_folder(tmp_path / 'data')
    (tmp_path / '_base_').mkdir()
    (tmp_path / '_base_/model.py').write_text(MODEL)
    config = tmp_path / 'config.py'
    config.write_text(LEAF)
    monkeypatch.chdir(tmp_path)
    data = ['--cfg-options', f'data_root={tmp_path / "data"}']
    assert run_tool('train.py', config, '--amp', *data) == 0
    precision = 'bfloat16' if has_bfloat16() else 'float32'
    printed = capsys.readouterr()
    assert f'trains the network in {precision}' in printed.out + printed.err
    trained = tmp_path / 'work_dirs/config/epoch_1.pth'
    meta = torch.load(trained, weights_only=True)['meta']
    assert Config.fromstring(meta['cfg'], '.py').num_classes == 3
    assert run_tool('test.py', config, trained, '--tta', '--out', 'cells', '--show-dir',
                    'drawn', *data) == 0
    assert len([*(tmp_path / 'cells').glob('*.geojson')]) == 2
    assert len([*(tmp_path / 'drawn/vis_data/vis_image').iterdir()]) == 2
    assert run_tool('train.py', config, '--fine-tune', trained, '--work-dir', 'new',
                    *data) == 0
    assert run_tool('infer.py', config, trained, tmp_path / 'data/Images/c_1.png',
                    '--mpp', '0.5', '--out', 'found', '--num-workers', '0',
                    '--batch-size', '1') == 0
    assert (tmp_path / 'found/c_1.geojson').is_file()
    assert run_tool('analysis_tools/browse_dataset.py', config, '--out', 'sheets',
                    *data) == 0
    assert run_tool('analysis_tools/complexity.py', config, '--size', '64', '--device',
                    'meta') == 0
