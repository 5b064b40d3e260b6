# Copyright (c) CellVTA-MMSeg contributors.
from pathlib import Path

import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS, METRICS

from mmseg_cellvta.evaluation.cell_instance_metric import ClassMapping

LEAVES = sorted(
    (Path(__file__).resolve().parents[1] / 'configs/transfer').glob('*.py'))


@pytest.fixture(params=LEAVES, ids=lambda path: path.stem)
def cfg(request):
    return Config.fromfile(request.param)


def test_leaves_are_short():
    assert LEAVES and all(len(path.read_text().splitlines()) <= 60 for path in LEAVES)


def test_maps_fit_the_data_set_of_the_training_and_that_of_the_test(cfg):
    metric = METRICS.build(cfg.test_evaluator)
    maps = metric.class_maps
    assert maps['pred_dataset'] == cfg.train_dataloader.dataset.type
    classes = [DATASETS.get(name).METAINFO['classes'] for name in (
        maps['pred_dataset'], cfg.test_dataloader.dataset.type)]
    assert len(classes[0]) == cfg.model.decode_head.num_classes
    mapping = ClassMapping(*classes, maps['pred_map'], maps['true_map'])
    assert mapping.names == ['inflammatory', 'epithelial', 'connective']


def test_images_are_those_of_the_other_data_set(cfg):
    steps = [step.type for step in cfg.test_dataloader.dataset.pipeline]
    assert steps.index('ResizeToMpp') < steps.index('LoadCellAnnotations')
    assert 'fold' not in str(cfg.test_dataloader)


def test_conic_gives_no_patch_of_pannuke():
    cfg, = (Config.fromfile(path) for path in LEAVES if path.stem.endswith('_conic'))
    assert cfg.test_dataloader.dataset.exclude_cohorts == ['pannuke']
