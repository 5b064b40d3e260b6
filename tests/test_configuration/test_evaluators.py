# Copyright (c) CellVTA-MMSeg contributors.
import copy

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from rule_segmentor import CONFIG as RULE_CONFIG
from stained_folder import NAMES, write_folder

from mmseg_cellvta.configuration.evaluators import check_prefixes, keep_predictions
from mmseg_cellvta.evaluation import CellInstanceMetric

CELLS = dict(type='CellInstanceMetric')


@pytest.mark.parametrize('evaluator, folders', [
    (CELLS, ['.']),
    ([CELLS], ['.']),
    ([dict(type='IoUMetric'), CELLS], ['IoUMetric', '.']),
    ([dict(type='DumpResults', out_file_path='all.pkl'), CELLS], [None, '.']),
    ([CELLS, dict(CELLS, prefix='wide', radius_px=24)], ['.', 'wide']),
    (dict(type='Evaluator', metrics=[dict(type=CellInstanceMetric)]), ['.']),
    (dict(type='Evaluator', metrics=CELLS), ['.']),
])
def test_each_metric_that_writes_gets_a_folder(tmp_path, evaluator, folders):
    cfg = Config(dict(test_evaluator=evaluator))
    keep_predictions(cfg, str(tmp_path))
    found = cfg.test_evaluator
    found = found.get('metrics', found) if isinstance(found, dict) else found
    found = found if isinstance(found, list) else [found]
    assert [metric.get('output_dir') for metric in found] == [
        folder and str(tmp_path / folder) for folder in folders]
    assert [metric.get('keep_results', False) for metric in found] == [
        folder is not None for folder in folders]


def test_a_list_of_metrics_writes_and_scores(tmp_path):
    write_folder(tmp_path / 'data')
    pipeline = [dict(type='LoadCellImage'), dict(type='LoadCellAnnotations'),
                dict(type='PackCellInputs')]
    cfg = Config(dict(
        copy.deepcopy(RULE_CONFIG), work_dir=str(tmp_path / 'work'), log_level='ERROR',
        experiment_name=tmp_path.name, test_cfg=dict(),
        test_evaluator=[dict(CELLS), dict(CELLS, prefix='wide', radius_px=24)],
        test_dataloader=dict(
            dataset=dict(type='CellFolderDataset', data_root=str(tmp_path / 'data'),
                         ann_file='test.txt', test_mode=True, pipeline=pipeline),
            batch_size=2, num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False))))
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
def test_predictions_that_nothing_writes_are_refused(evaluator, message):
    cfg = Config(dict(test_evaluator=evaluator))
    with pytest.raises(ValueError, match=message):
        keep_predictions(cfg, 'out')


@pytest.mark.parametrize('evaluator', [
    [CELLS, CELLS], [CELLS, dict(type=CellInstanceMetric, prefix='cell')],
    dict(type='Evaluator', metrics=[CELLS, dict(type='IoUMetric'), CELLS])])
def test_scores_of_equal_names_are_refused(evaluator):
    with pytest.raises(ValueError, match="CellInstanceMetric with prefix 'cell'; give"):
        check_prefixes(evaluator)


@pytest.mark.parametrize('evaluator', [
    None, CELLS, [CELLS, dict(CELLS, prefix='wide')], [CELLS, dict(type='IoUMetric')]])
def test_scores_of_other_names_are_taken(evaluator):
    check_prefixes(evaluator)
