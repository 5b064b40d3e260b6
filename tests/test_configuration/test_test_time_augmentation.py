# Copyright (c) CellVTA-MMSeg contributors.
import copy

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from rule_segmentor import CONFIG as RULE_CONFIG
from stained_folder import write_folder

from mmseg_cellvta.configuration.test_time_augmentation import enable_tta
from mmseg_cellvta.datasets.transforms import CellRandomRotate90

VIEWS = [dict(type='RandomFlip', prob=1.0, direction=direction)
         for direction in ('vertical', 'diagonal')]
TTA = [
    dict(type='LoadCellImage'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='ResizeToMpp')], VIEWS, [dict(type='LoadCellAnnotations')],
        [dict(type='PackCellInputs')]])]
WRAPPERS = dict(
    plain=lambda parts: parts[0],
    concat=lambda parts: dict(type='ConcatDataset', datasets=parts),
    repeat=lambda parts: dict(type='RepeatDataset', times=1, dataset=parts[0]),
    both=lambda parts: dict(type='ConcatDataset', datasets=[
        dict(type='RepeatDataset', times=1, dataset=parts[0]), parts[1]]))


@pytest.fixture
def cfg(tmp_path):
    """A config that tests the rule model on a small folder."""
    write_folder(tmp_path / 'data')
    pipeline = [dict(type='LoadCellImage'), dict(type='ResizeToMpp'),
                dict(type='LoadCellAnnotations'), dict(type='PackCellInputs')]
    dataset = dict(type='CellFolderDataset', data_root=str(tmp_path / 'data'),
                   ann_file='test.txt', test_mode=True, pipeline=pipeline)
    return Config(dict(
        copy.deepcopy(RULE_CONFIG), work_dir=str(tmp_path / 'work'), log_level='ERROR',
        experiment_name=tmp_path.name, tta_pipeline=copy.deepcopy(TTA),
        tta_model=dict(type='CellTTAModel'), test_cfg=dict(type='TestLoop'),
        test_evaluator=dict(type='CellInstanceMetric'),
        test_dataloader=dict(
            dataset=dataset, batch_size=2, num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False))))


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_flips_are_undone_whatever_wraps_the_data_set(cfg, wrapper):
    data = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = WRAPPERS[wrapper](
        [data, dict(data, ann_file='val.txt')])
    plain = Runner.from_cfg(copy.deepcopy(cfg)).test()
    cfg.experiment_name += '-tta'
    enable_tta(cfg)
    flipped = Runner.from_cfg(cfg).test()
    assert plain['cell/bPQ'] > 0.9
    assert flipped['cell/bPQ'] == pytest.approx(plain['cell/bPQ'], abs=0.02)


@pytest.mark.parametrize('kind', [
    'CellRandomRotate90', 'mmseg.RandomRotFlip', CellRandomRotate90])
def test_views_that_cannot_be_moved_back_are_refused(cfg, kind):
    cfg.tta_pipeline[1].transforms[1].append(dict(type=kind, prob=1.0))
    with pytest.raises(ValueError, match='Rot(ate90|Flip) in tta_pipeline'):
        enable_tta(cfg)


def test_labels_that_would_be_turned_are_refused(cfg):
    views = cfg.tta_pipeline[1].transforms
    views[1], views[2] = views[2], views[1]
    with pytest.raises(ValueError, match='put LoadCellAnnotations after'):
        enable_tta(cfg)


def test_the_model_of_mmsegmentation_is_refused(cfg):
    """It is in the default_runtime.py that configs there inherit."""
    cfg.tta_model.type = 'SegTTAModel'
    with pytest.raises(ValueError, match="set tta_model=dict.type='CellTTAModel'"):
        enable_tta(cfg)


def test_views_of_several_sizes_are_refused(cfg):
    cfg.tta_pipeline[1].transforms[0] = [
        dict(type='Resize', scale=(size, size)) for size in (64, 96)]
    enable_tta(cfg)
    with pytest.raises(ValueError, match=r'\(64, 64\) and .*\(96, 96\) px.*same size'):
        Runner.from_cfg(cfg).test()


@pytest.mark.parametrize('name', ['tta_pipeline', 'tta_model', 'test_dataloader'])
def test_a_config_without_augmentation_says_what_it_lacks(cfg, name):
    cfg[name] = None
    with pytest.raises(ValueError, match=f'--tta needs {name}'):
        enable_tta(cfg)
