# Copyright (c) CellVTA-MMSeg contributors.
import itertools

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from tiny_models import SEGMENTOR, build, square_sample
from torch.utils.data import Dataset

from mmseg_cellvta.models import CellTTAModel

COUNTER = itertools.count()
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


class Squares(Dataset):
    metainfo = {}

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return dict(inputs=torch.zeros(3, 64, 64), data_samples=square_sample())


class Nothing(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {}


def make_runner(work_dir, load_from=None, tta=False, **preprocessor):
    init_default_scope('mmseg')  # the fixture of conftest comes later
    loader = dict(dataset=Squares(), batch_size=2, num_workers=0,
                  sampler=dict(type='DefaultSampler', shuffle=False))
    model = build(SEGMENTOR, data_preprocessor=preprocessor)
    return Runner(
        CellTTAModel(model) if tta else model, str(work_dir), train_dataloader=loader,
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        test_dataloader=loader, test_cfg=dict(), test_evaluator=Nothing(),
        custom_hooks=[dict(type='NormalizationHook'), dict(type='PlainCheckpointHook')],
        default_scope='mmseg', load_from=load_from,
        experiment_name=f'{work_dir.name}-{next(COUNTER)}')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A checkpoint of one training step with ImageNet's statistics."""
    work_dir = tmp_path_factory.mktemp('trained')
    make_runner(work_dir, **IMAGENET).train()
    return work_dir / 'epoch_1.pth'


def test_meta_names_mean_and_std(checkpoint):
    saved = torch.load(checkpoint, weights_only=True)['meta']['normalization']
    assert saved == IMAGENET


def test_same_normalization_tests_and_resumes(checkpoint, tmp_path):
    make_runner(tmp_path, str(checkpoint), **IMAGENET).test()
    runner = make_runner(tmp_path, **IMAGENET)
    runner.resume(str(checkpoint))
    assert runner.epoch == 1


@pytest.mark.parametrize('preprocessor', [{}, dict(mean=None, std=None)])
def test_another_normalization_is_refused_in_one_sentence(
        checkpoint, tmp_path, preprocessor):
    with pytest.raises(ValueError, match='normalised by.*123.675.*but.*set its mean'):
        make_runner(tmp_path, str(checkpoint), **preprocessor).test()


def test_model_is_found_inside_test_time_augmentation(checkpoint, tmp_path):
    make_runner(tmp_path, tta=True, **IMAGENET).load_checkpoint(str(checkpoint))
    with pytest.raises(ValueError, match='normalised by'):
        make_runner(tmp_path, tta=True).load_checkpoint(str(checkpoint))


def test_checkpoint_that_says_nothing_is_taken(checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    del content['meta']['normalization']
    torch.save(content, tmp_path / 'silent.pth')
    make_runner(tmp_path, str(tmp_path / 'silent.pth')).test()


def test_model_that_does_not_normalize_writes_nothing(tmp_path):
    make_runner(tmp_path, mean=None, std=None).train()
    content = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    assert 'normalization' not in content['meta']
