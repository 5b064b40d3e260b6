# Copyright (c) CellVTA-MMSeg contributors.
import copy

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from rule_segmentor import CONFIG as RULE_CONFIG
from stained_folder import NAMES, write_folder

from mmseg_cellvta.datasets.transforms import CellRandomRotate90
from mmseg_cellvta.evaluation import CellInstanceMetric
from mmseg_cellvta.utils.test_options import enable_tta, keep_predictions

VIEWS = [dict(type='RandomFlip', prob=1.0, direction=direction)
         for direction in ('vertical', 'diagonal')]
TTA = [
    dict(type='LoadCellImage'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='ResizeToMpp')], VIEWS, [dict(type='LoadCellAnnotations')],
        [dict(type='PackCellInputs')]])]
CELLS = dict(type='CellInstanceMetric')
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
        tta_model=dict(type='CellTTAModel'), test_evaluator=dict(CELLS),
        test_cfg=dict(type='TestLoop'),
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


@pytest.mark.parametrize('evaluator, folders', [
    (CELLS, ['.']),
    ([CELLS], ['.']),
    ([dict(type='IoUMetric'), CELLS], ['.', 'CellInstanceMetric']),
    ([dict(type='DumpResults', out_file_path='all.pkl'), CELLS], [None, '.']),
    ([CELLS, dict(CELLS, prefix='wide', radius_px=24)], ['.', 'wide']),
    (dict(type='Evaluator', metrics=[dict(type=CellInstanceMetric)]), ['.']),
    (dict(type='Evaluator', metrics=CELLS), ['.']),
])
def test_each_metric_that_writes_gets_a_folder(cfg, tmp_path, evaluator, folders):
    cfg.test_evaluator = evaluator
    keep_predictions(cfg, str(tmp_path))
    found = cfg.test_evaluator
    found = found.get('metrics', found) if isinstance(found, dict) else found
    found = found if isinstance(found, list) else [found]
    assert [metric.get('output_dir') for metric in found] == [
        folder and str(tmp_path / folder) for folder in folders]
    assert [metric.get('keep_results', False) for metric in found] == [
        folder is not None for folder in folders]


def test_a_list_of_metrics_writes_and_scores(cfg, tmp_path):
    cfg.test_evaluator = [dict(CELLS), dict(CELLS, prefix='wide', radius_px=24)]
    keep_predictions(cfg, str(tmp_path / 'out'))
    scores = Runner.from_cfg(cfg).test()
    assert scores['cell/bPQ'] == scores['wide/bPQ'] > 0.9
    for folder in ('out', 'out/wide'):
        written = {path.name for path in (tmp_path / folder).glob('*.*json')}
        assert written == {f'{name}.geojson' for name in NAMES['test']} | {
            'metrics.json'}


@pytest.mark.parametrize('evaluator, message', [
    ([dict(type='DumpResults', out_file_path='all.pkl')], 'no metric .* writes'),
    ([], 'no metric'), (None, 'no metric'),
    ([CELLS, CELLS, CELLS], 'two metrics .*CellInstanceMetric; give each a prefix')])
def test_predictions_that_nothing_writes_are_refused(cfg, evaluator, message):
    cfg.test_evaluator = evaluator
    with pytest.raises(ValueError, match=message):
        keep_predictions(cfg, 'out')
