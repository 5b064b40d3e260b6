# Copyright (c) CellVTA-MMSeg contributors.
"""A tiny training, resumed with other settings."""
import copy
import itertools

import pytest
import torch
from mmengine.runner import Runner
from test_engine.test_plain_checkpoint_hook import ToyData, ToyModel

from mmseg_cellvta.engine import PlainCheckpointHook, ResumeHook
from mmseg_cellvta.utils.plain_loading import CheckpointError, plain_loading

COUNTER = itertools.count()
ADAMW = dict(type='AdamW', lr=0.01, weight_decay=0.1, betas=(0.9, 0.99))


def one_cycle(steps):
    return [dict(type='OneCycleLR', eta_max=0.01, total_steps=steps, by_epoch=False)]


def run(work_dir, max_iters=8, schedule=None, optimizer=ADAMW, resume=False,
        hooks=(ResumeHook, PlainCheckpointHook), batch_size=2, by_epoch=False,
        **kwargs):
    """Trains; returns the runner."""
    loop = dict(type='EpochBasedTrainLoop', max_epochs=max_iters) if by_epoch else dict(
        type='IterBasedTrainLoop', max_iters=max_iters)
    torch.manual_seed(0)
    sampler = 'DefaultSampler' if by_epoch else 'InfiniteSampler'
    runner = Runner(
        ToyModel(), str(work_dir),
        train_dataloader=dict(
            dataset=ToyData(), batch_size=batch_size, num_workers=0,
            sampler=dict(type=sampler, shuffle=False)),
        train_cfg=loop, optim_wrapper=dict(optimizer=copy.deepcopy(optimizer)),
        param_scheduler=copy.deepcopy(schedule), resume=resume,
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', by_epoch=by_epoch,
                            interval=1 if by_epoch else 4)),
        custom_hooks=[hook() for hook in hooks], log_processor=dict(by_epoch=by_epoch),
        default_scope='mmseg', log_level='WARNING',
        experiment_name=f'{work_dir.name}-{next(COUNTER)}', **kwargs)
    with plain_loading():
        runner.train()
    return runner


def decays(end):
    """What schedules are resumed with, shorter and longer."""
    warm_up = dict(type='LinearLR', start_factor=0.1, end=2, by_epoch=False)
    return dict(
        one_cycle=one_cycle(end),
        cosine=[warm_up, dict(type='CosineAnnealingLR', T_max=end - 2, begin=2,
                              by_epoch=False)],
        poly=[dict(type='PolyLR', eta_min=1e-4, end=end, by_epoch=False)],
        linear=[dict(type='LinearLR', start_factor=1.0, end_factor=0.01, end=end,
                     by_epoch=False)],
        steps=[dict(type='MultiStepLR', milestones=[end // 2], by_epoch=False)],
        constant=[dict(type='ConstantLR', factor=0.5, end=end, by_epoch=False)])


@pytest.mark.parametrize('hooks', [
    (ResumeHook, PlainCheckpointHook), (ResumeHook, )], ids=['plain', 'stock'])
@pytest.mark.parametrize('name', decays(8))
def test_a_longer_schedule_is_refused(tmp_path, name, hooks):
    run(tmp_path, 8, decays(8)[name], hooks=hooks)
    with pytest.raises(CheckpointError, match=r'has others: \w+LR\.\w+') as error:
        run(tmp_path, 16, decays(16)[name], resume=True, hooks=hooks)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['one_cycle', 'cosine', 'poly', 'linear'])
def test_a_schedule_that_ends_before_the_added_steps_is_refused(tmp_path, name):
    run(tmp_path, 8, decays(8)[name])
    with pytest.raises(CheckpointError, match='max_iters=8 is resumed with 16, but'):
        run(tmp_path, 16, decays(8)[name], resume=True)


def rates(runner):
    return runner.message_hub.log_scalars['train/lr'].data[0].tolist()


@pytest.mark.parametrize('name', decays(8))
def test_what_was_interrupted_goes_on_as_it_would_have(tmp_path, name):
    whole = run(tmp_path, 8, decays(8)[name])
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_4.pth'))
    parts = run(tmp_path, 8, decays(8)[name], resume=True)
    assert rates(whole) == rates(parts) and len(set(rates(whole))) > 1


@pytest.mark.parametrize('hooks', [(), (PlainCheckpointHook, )])
def test_files_of_earlier_runs_are_resumed(tmp_path, hooks):
    """Those of stock MMEngine hold its log history and methods of its schedule."""
    whole = run(tmp_path, 8, one_cycle(8), hooks=hooks)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_4.pth'))
    assert rates(run(tmp_path, 8, one_cycle(8), resume=True)) == rates(whole)


@pytest.mark.parametrize('schedule', [
    [dict(type='ExponentialLR', gamma=0.9)],
    [dict(type='StepLR', step_size=3)],
    [dict(type='MultiStepLR', milestones=[2, 5])],
    [dict(type='LinearLR', start_factor=0.1, end=2),
     dict(type='ExponentialLR', gamma=0.9, begin=2)]])
@pytest.mark.parametrize('by_epoch', [False, True])
def test_a_schedule_that_does_not_depend_on_its_end_goes_on(
        tmp_path, schedule, by_epoch):
    schedule = [dict(part, by_epoch=by_epoch) for part in schedule]
    whole = run(tmp_path / 'whole', 8, schedule, by_epoch=by_epoch)
    run(tmp_path / 'parts', 4, schedule, by_epoch=by_epoch)
    parts = run(tmp_path / 'parts', 8, schedule, by_epoch=by_epoch, resume=True)
    assert rates(whole) == rates(parts) and parts.iter == whole.iter


@pytest.mark.parametrize(('changes', 'named'), [
    (dict(optimizer=dict(ADAMW, lr=0.02)), 'optimizer.initial_lr=0.02 instead of 0.01'),
    (dict(optimizer=dict(ADAMW, weight_decay=0.0)),
     'optimizer.weight_decay=0.0 instead of 0.1'),
    (dict(optimizer=dict(ADAMW, betas=(0.8, 0.99))), 'optimizer.betas'),
    (dict(optimizer=dict(type='SGD', lr=0.01)), 'optimizer.momentum=0 instead of None'),
    (dict(schedule=[dict(type='ExponentialLR', gamma=0.8)]),
     'ExponentialLR.gamma=0.8 instead of 0.9'),
    (dict(schedule=[dict(type='ExponentialLR', gamma=0.9), *one_cycle(8)]),
     '2 schedules instead of 1'),
    (dict(schedule=[dict(type='ConstantLR', factor=0.9)]), 'ConstantLR.factor=0.9')])
def test_what_the_checkpoint_overrides_is_named(tmp_path, changes, named):
    settings = dict(schedule=[dict(type='ExponentialLR', gamma=0.9)])
    run(tmp_path, 4, **settings)
    with pytest.raises(CheckpointError) as error:
        run(tmp_path, 8, resume=True, **settings | changes)
    assert named in str(error.value) and '\n' not in str(error.value)


def test_another_rate_without_a_schedule_is_refused(tmp_path):
    run(tmp_path, 4)
    with pytest.raises(CheckpointError, match='optimizer.lr=0.02 instead of 0.01'):
        run(tmp_path, 8, optimizer=dict(ADAMW, lr=0.02), resume=True)


def test_weights_alone_are_taken_into_any_training(tmp_path):
    run(tmp_path / 'old', 8, one_cycle(8))
    runner = run(tmp_path / 'new', 16, one_cycle(16), optimizer=dict(ADAMW, lr=0.02),
                 load_from=str(tmp_path / 'old/iter_8.pth'))
    assert runner.iter == 16


def test_another_batch_size_is_said(tmp_path, caplog):
    run(tmp_path, 4)
    run(tmp_path, 8, resume=True)
    assert 'images per step' not in caplog.text
    runner = run(tmp_path, 12, resume=True, batch_size=4)
    log = next((tmp_path / runner.timestamp).glob('*.log')).read_text()
    assert 'of 2 images per step is resumed with 4' in log
