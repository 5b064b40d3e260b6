# Copyright (c) CellVTA-MMSeg contributors.
"""A validation without nuclei, in a real training of a tiny model."""
import numpy as np
import pytest
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.structures import PixelData
from mmseg.registry import HOOKS
from tiny_models import SEGMENTOR, build, square_sample
from tiny_training import TwoImages, make_runner

from mmseg_cellvta.evaluation import CellInstanceMetric


class Labelled(TwoImages):
    """Images with one nucleus of class 1, or without any."""

    metainfo = dict(
        classes=('background', 'round', 'long'), palette=[[0] * 3] * 3)

    def __init__(self, nuclei: bool):
        self.nuclei = nuclei

    def __getitem__(self, index):
        sample = square_sample(str(index), mpp=0.25)
        if not self.nuclei:
            for key in ('gt_inst_map', 'gt_sem_seg'):
                sample.get(key).data.zero_()
        sample.gt_sem_seg = PixelData(data=sample.gt_inst_map.data.long())
        return dict(inputs=super().__getitem__(index)['inputs'], data_samples=sample)


class Fixed(BaseMetric):
    default_prefix = 'cell'

    def __init__(self, **scores):
        super().__init__()
        self.scores = scores

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return self.scores


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmseg_cellvta.engine.best_score_hook.print_log',
        lambda message, logger, level: lines.append(message))
    return lines


def train(work_dir, metric, nuclei=False, save_best='cell/mPQ', **checkpoint):
    make_runner(
        work_dir, build(SEGMENTOR), epochs=2,
        hooks=[HOOKS.build(dict(type='BestScoreHook'))],
        val_dataloader=dict(
            dataset=Labelled(nuclei), batch_size=2, num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate')),
        val_cfg=dict(), val_evaluator=Evaluator(metric),
        default_hooks=dict(checkpoint=dict(
            type='CheckpointHook', interval=1, save_best=save_best,
            **dict(dict(rule='greater'), **checkpoint)))).train()
    return [path.name for path in work_dir.glob('best*')]


@pytest.mark.parametrize('save_best', ['cell/mPQ', ['cell/mPQ', 'cell/PQ_conic']])
def test_a_validation_without_nuclei_is_told_once(tmp_path, said, save_best):
    best = train(tmp_path, CellInstanceMetric(), save_best=save_best)
    assert not any('mPQ' in name for name in best)
    line, = said
    assert line.startswith('cell/mPQ is nan')
    assert 'save_best keeps no checkpoint' in line


def test_a_class_that_does_not_occur_is_told_too(tmp_path, said):
    best = train(tmp_path, CellInstanceMetric(), nuclei=True, save_best='cell/PQ_long')
    assert best == [] and said[0].startswith('cell/PQ_long is nan')


@pytest.mark.parametrize('score', [float('nan'), *np.array(['nan'], 'f4')])
@pytest.mark.parametrize('save_best, rule', [('auto', None), ('cell/loss', 'less')])
def test_any_score_is_watched(tmp_path, said, score, save_best, rule):
    name = 'mIoU' if save_best == 'auto' else 'loss'
    metric = Fixed(**{name: score})
    assert train(tmp_path, metric, save_best=save_best, rule=rule) == []
    assert [line.split(' is ')[0] for line in said] == [f'cell/{name}']


@pytest.mark.parametrize('save_best, kept', [('PQ', 0), (['cell/mPQ', 'PQ'], 1)])
def test_a_score_that_does_not_exist_does_not_end_the_training(
        tmp_path, said, save_best, kept):
    best = train(tmp_path, CellInstanceMetric(), nuclei=True, save_best=save_best)
    assert len(best) == kept
    line, = said
    assert line.startswith('PQ is none of the scores cell/mPQ, ')
    assert (tmp_path / 'epoch_2.pth').is_file()


def test_a_training_without_validation_is_told(tmp_path, said):
    runner = make_runner(
        tmp_path, build(SEGMENTOR), hooks=[HOOKS.build(dict(type='BestScoreHook'))],
        default_hooks=dict(checkpoint=dict(
            type='CheckpointHook', save_best='cell/mPQ', rule='greater')))
    runner.train()
    assert said[0].startswith('cell/mPQ is never computed')


def test_nothing_is_said_where_a_best_checkpoint_is_kept_or_none_is_wanted(
        tmp_path, said):
    kept = train(tmp_path / 'a', Fixed(mPQ=0.5, other=float('nan')))
    assert kept == ['best_cell_mPQ_epoch_1.pth'] and said == []
    train(tmp_path / 'b', Fixed(mPQ=float('nan')), save_best=None, rule=None)
    assert said == []
