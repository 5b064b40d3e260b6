# Copyright (c) CellVTA-MMSeg contributors.
import collections
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmseg_cellvta.engine import PlainCheckpointHook

EPOCHS = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)
ITERS = dict(type='IterBasedTrainLoop', max_iters=8, val_interval=4)


class ToyData(Dataset):
    metainfo = dict(classes=('background', 'nucleus'), scale=np.float64(0.5))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=torch.full((2,), float(index)))


class ToyModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)

    def forward(self, inputs, mode='tensor'):
        outputs = self.linear(torch.stack(inputs))
        return dict(loss=outputs.square().mean()) if mode == 'loss' else [outputs]


class ToyMetric(BaseMetric):
    default_prefix = 'cell'

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(mPQ=np.float64(0.25))


def make_runner(work_dir, loop, resume=False, hooks=()):
    by_epoch = loop['type'] == 'EpochBasedTrainLoop'
    torch.manual_seed(0)
    loader = dict(
        dataset=ToyData(),
        batch_size=2,
        num_workers=0,
        sampler=dict(
            type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=False
        ),
    )
    eval_loader = {**loader, 'sampler': dict(type='DefaultSampler', shuffle=False)}
    return Runner(
        ToyModel(),
        str(work_dir),
        train_dataloader=loader,
        val_dataloader=eval_loader,
        train_cfg=dict(loop),
        val_cfg=dict(),
        val_evaluator=Evaluator(ToyMetric()),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, end=3, by_epoch=False),
            dict(type='PolyLR', eta_min=0.001, begin=3, end=20, by_epoch=False),
        ],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(
                type='CheckpointHook',
                by_epoch=by_epoch,
                interval=1 if by_epoch else 4,
                save_best='cell/mPQ',
                rule='greater',
                max_keep_ckpts=2,
            ),
        ),
        custom_hooks=[PlainCheckpointHook(), *hooks],
        log_processor=dict(by_epoch=by_epoch),
        resume=resume,
        default_scope='mmseg',
        experiment_name=f'{work_dir.parent.name}-{work_dir.name}-{resume}',
        log_level='ERROR',
    )


def train(work_dir, loop, **kwargs):
    runner = make_runner(work_dir, loop, **kwargs)
    runner.train()
    return runner


def history(runner) -> dict:
    scalars = runner.message_hub.log_scalars
    names = ('train/lr', 'train/loss')
    return {name: [array.tolist() for array in scalars[name].data] for name in names}


@pytest.mark.integration
@pytest.mark.parametrize('loop', [EPOCHS, ITERS])
def test_every_checkpoint_loads_with_weights_only(tmp_path, loop):
    train(tmp_path, loop, hooks=[dict(type='EMAHook')])
    paths = sorted(tmp_path.glob('*.pth'))
    assert len(paths) == 3 and any('best' in path.name for path in paths)
    for path in paths:
        checkpoint = torch.load(path, weights_only=True)
        assert {'state_dict', 'ema_state_dict', 'message_hub'} <= set(checkpoint)
        assert checkpoint['meta']['dataset_meta']['scale'] == 0.5
    last = torch.load(paths[-1], weights_only=True)
    assert {'optimizer', 'param_schedulers'} <= set(last)


@pytest.mark.integration
@pytest.mark.parametrize('loop, longer', [
    (EPOCHS, dict(EPOCHS, max_epochs=4)), (ITERS, dict(ITERS, max_iters=16)),
])
def test_resumed_training_equals_an_uninterrupted_one(
    tmp_path, monkeypatch, loop, longer
):
    """Weights, learning rates, log history and best score; protection stays on."""
    monkeypatch.delenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', raising=False)
    ema = [dict(type='EMAHook')]
    whole = train(tmp_path / 'whole', longer, hooks=ema)
    train(tmp_path / 'parts', loop, hooks=ema)
    resumed = train(tmp_path / 'parts', longer, hooks=ema, resume=True)
    assert resumed.iter == whole.iter == 16
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    assert history(resumed) == history(whole)
    assert len(history(resumed)['train/lr'][0]) == 16
    assert resumed.message_hub.get_info('best_score') == 0.25


def save_and_load(checkpoint, tmp_path) -> dict:
    hook = PlainCheckpointHook()
    hook.before_save_checkpoint(None, checkpoint)
    torch.save(checkpoint, tmp_path / 'checkpoint.pth')
    loaded = torch.load(tmp_path / 'checkpoint.pth', weights_only=True)
    hook.after_load_checkpoint(None, loaded)
    return loaded


def test_log_history_survives_to_the_bit(tmp_path):
    buffer = HistoryBuffer([0.1, 1 / 3, 7.0], [1, 2, 3], max_length=3)
    hub = dict(log_scalars={'train/loss': buffer}, runtime_info={}, resumed_keys={})
    loaded = save_and_load(dict(message_hub=hub), tmp_path)
    restored = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(restored, HistoryBuffer)
    for before, after in zip(buffer.data, restored.data, strict=True):
        assert before.dtype == after.dtype and np.array_equal(before, after)
    assert restored.max_length == 3
    assert restored.statistics('mean', 3) == buffer.statistics('mean', 3)


@pytest.mark.parametrize(
    'value, plain',
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.25), 0.25),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_('a'), 'a'),
        (np.arange(3), [0, 1, 2]),
        ((1, np.int64(2)), (1, 2)),
        (collections.OrderedDict(a=np.float32(1)), dict(a=1.0)),
        (dict(anneal=len, kept=1), dict(kept=1)),
        ([None, b'x', 'text', True], [None, b'x', 'text', True]),
    ],
)
def test_numpy_values_become_plain_ones(tmp_path, value, plain):
    loaded = save_and_load(dict(meta=dict(entry=value)), tmp_path)
    assert loaded['meta']['entry'] == plain
    assert type(loaded['meta']['entry']) is type(plain)


def test_state_dicts_and_optimizer_tensors_are_not_touched(tmp_path):
    weights = collections.OrderedDict(weight=torch.rand(3))
    moments = torch.rand(3)
    checkpoint = dict(state_dict=weights, optimizer=dict(state={0: moments}))
    PlainCheckpointHook().before_save_checkpoint(None, checkpoint)
    assert checkpoint['state_dict'] is weights
    assert checkpoint['optimizer']['state'][0] is moments


def test_values_of_the_running_training_are_not_modified():
    best = dict(score=np.float64(1))
    PlainCheckpointHook().before_save_checkpoint(None, dict(meta=best))
    assert isinstance(best['score'], np.float64)


class Kept:
    """An object that some hook keeps."""


OBJECTS = dict(
    plain=Kept(), inside=dict(list=[1, Kept()], kept=2), type=Kept, path=Path('a'),
    some={1, 2}, module=torch.nn.Linear(1, 1), array=np.array([Kept()]), number=3 + 1j,
    exact=np.longdouble(1), date=np.datetime64('2026-01-01'))


class KeepObjects(Hook):
    """Puts objects into all parts of a checkpoint."""

    def before_train(self, runner):
        for name, value in OBJECTS.items():
            runner.message_hub.update_info(name, value)
        runner.train_dataloader.dataset.metainfo = dict(classes=('a', ), reader=Kept())

    def before_save_checkpoint(self, runner, checkpoint):
        checkpoint['mine'] = Kept()
        checkpoint['sampler_state_dict'] = dict(
            weight=torch.ones(1), generator=np.random.default_rng(0))


def test_a_training_goes_on_without_the_objects_that_hooks_keep(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmseg_cellvta.engine.plain_checkpoint_hook.print_log',
        lambda message, logger, level: said.append(message))
    train(tmp_path, EPOCHS, hooks=[KeepObjects()])
    hub = [f'message_hub.runtime_info.{name}' for name in OBJECTS if name != 'inside']
    places = [*hub, 'message_hub.runtime_info.inside.list', 'meta.dataset_meta.reader',
              'mine', 'sampler_state_dict.generator']
    assert sorted(line.split(' is a ')[0] for line in said) == sorted(places)
    assert 'a resumed training begins without it' in said[0]
    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    assert saved['message_hub']['runtime_info']['inside'] == dict(kept=2)
    assert saved['meta']['dataset_meta'] == dict(classes=('a', ))
    assert list(saved['sampler_state_dict']) == ['weight']
    longer = dict(EPOCHS, max_epochs=3)
    assert train(tmp_path, longer, hooks=[KeepObjects()], resume=True).iter == 12


@pytest.mark.parametrize('checkpoint', [dict(state_dict={}), dict(message_hub={})])
def test_checkpoints_without_history_are_left_alone(checkpoint):
    before = dict(checkpoint)
    PlainCheckpointHook().after_load_checkpoint(None, checkpoint)
    assert checkpoint == before
