# Copyright (c) CellVTA-MMSeg contributors.
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from tiny_models import ENCODER, SEGMENTOR, build
from tiny_training import make_runner

from mmseg_cellvta.engine import (
    NormalizationHook,
    PlainCheckpointHook,
    UnfreezeEncoderHook,
)
from mmseg_cellvta.models.encoders import TimmEncoder

ROOT = Path(__file__).resolve().parents[2]
VIT = dict(ENCODER, init_values=None)


class Watch(Hook):
    """Notes after each epoch what the encoder looks like."""

    def __init__(self):
        self.weights, self.training = [], []

    def after_train_epoch(self, runner):
        model = getattr(runner.model, 'module', runner.model)
        vit = model.backbone.encoder.vit
        self.weights.append(vit.blocks[0].mlp.fc1.weight.detach().clone())
        self.training.append(vit.blocks[0].training)


def cellvit(weights=None):
    backbone = dict(
        type='ViTTokenMaps',
        encoder=dict(VIT, weights=weights))
    segmentor = dict(SEGMENTOR, backbone=backbone)
    return build(
        segmentor, decode_head=dict(in_strides=(1, 16, 16, 16, 16)))


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / 'vit.pth'
    torch.save(TimmEncoder(**VIT).vit.state_dict(), path)
    return str(path)


def train(work_dir, weights, epochs, **kwargs):
    watch = Watch()
    runner = make_runner(
        work_dir, cellvit(weights), epochs,
        hooks=[UnfreezeEncoderHook(epoch=2), PlainCheckpointHook(), watch], **kwargs)
    runner.train()
    return runner, watch


def saved_keys(path):
    return list(torch.load(path, weights_only=True)['state_dict'])


def test_encoder_is_frozen_until_its_epoch_and_trained_and_saved_after(
        tmp_path, weights):
    runner, watch = train(tmp_path, weights, epochs=3)
    assert watch.training == [False, False, True]
    first, second, third = watch.weights
    assert torch.equal(first, second) and not torch.equal(second, third)
    # Not the optimizer's decay alone: Adam's first step is as long as the rate.
    assert (second - third).abs().median() > 5e-3
    key = 'backbone.encoder.vit.blocks.0.mlp.fc1.weight'
    assert key not in saved_keys(tmp_path / 'epoch_2.pth')
    assert key in saved_keys(tmp_path / 'epoch_3.pth')
    assert all(p.requires_grad for p in runner.model.parameters())


def test_a_run_that_is_resumed_later_goes_on_as_if_never_stopped(tmp_path, weights):
    _, whole = train(tmp_path / 'whole', weights, epochs=4)
    train(tmp_path / 'parts', weights, epochs=3)
    _, rest = train(tmp_path / 'parts', weights, epochs=4, resume=True)
    assert rest.training == [True]
    torch.testing.assert_close(rest.weights[0], whole.weights[3])


EMA = dict(type='EMAHook', momentum=0.25)
SWA = dict(type='EMAHook', ema_type='StochasticWeightAverage')


def train_averaged(work_dir, weights, epochs, ema, **kwargs):
    watch = Watch()
    runner = make_runner(
        work_dir, cellvit(weights), epochs,
        hooks=[dict(ema), UnfreezeEncoderHook(epoch=2), NormalizationHook(),
               PlainCheckpointHook(), watch], **kwargs)
    runner.train()
    return watch


def encoder_weight(path, kind='state_dict', prefix=''):
    return torch.load(path, weights_only=True)[kind][
        f'{prefix}backbone.encoder.vit.blocks.0.mlp.fc1.weight']


@pytest.mark.parametrize('ema, shares', [
    (EMA, [0.25, 0.25]), (dict(EMA, update_buffers=True), [0.25, 0.25]),
    (dict(EMA, begin_epoch=3), [1, 0.25]), (SWA, [1 / 3, 1 / 4])])
def test_an_average_follows_the_encoder_from_its_epoch_on(
        tmp_path, weights, ema, shares):
    watch = train_averaged(tmp_path, weights, 4, ema)
    expected = watch.weights[1]
    for share, weight in zip(shares, watch.weights[2:], strict=True):
        expected = expected + share * (weight - expected)
    path = tmp_path / 'epoch_4.pth'
    torch.testing.assert_close(encoder_weight(path), expected)
    assert torch.equal(
        encoder_weight(path, 'ema_state_dict', 'module.'), watch.weights[3])


@pytest.mark.parametrize('ema', [EMA, dict(EMA, update_buffers=True)])
@pytest.mark.parametrize('stop', [2, 3])
def test_an_average_is_resumed_before_and_after_the_encoder_is_released(
        tmp_path, weights, stop, ema):
    train_averaged(tmp_path / 'whole', weights, 4, ema)
    train_averaged(tmp_path / 'parts', weights, stop, ema)
    train_averaged(tmp_path / 'parts', weights, 4, ema, resume=True)
    for kind in ('state_dict', 'ema_state_dict'):
        whole, parts = (
            torch.load(tmp_path / part / 'epoch_4.pth', weights_only=True)[kind]
            for part in ('whole', 'parts'))
        assert whole.keys() == parts.keys()
        for key, value in whole.items():
            torch.testing.assert_close(parts[key], value, msg=key)


def test_a_schedule_of_iterations_is_refused(tmp_path):
    runner = make_runner(
        tmp_path, cellvit(), hooks=[UnfreezeEncoderHook(epoch=2)],
        train_cfg=dict(by_epoch=False, max_iters=1))
    with pytest.raises(ValueError, match=r'epoch=2\) counts epochs.*EpochBased'):
        runner.train()


def test_a_backbone_without_encoder_is_refused_before_training(tmp_path):
    model = cellvit()
    model.backbone = torch.nn.Identity()
    with pytest.raises(ValueError, match='Identity has no encoder.*remove the hook'):
        make_runner(tmp_path, model, hooks=[UnfreezeEncoderHook(epoch=2)]).train()


def train_rank(rank: int, folder: str) -> None:
    """Trains in two processes, each with one of the images."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    runner, watch = train(
        Path(folder, 'work'), f'{folder}/vit.pth', epochs=4, launcher='pytorch',
        cfg=dict(model_wrapper_cfg=dict(
            type='MMDistributedDataParallel', device_ids=None,
            broadcast_buffers=False)))
    torch.save(watch.weights, f'{folder}/rank{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason='torch without gloo')
def test_two_processes_train_one_encoder(tmp_path, weights):
    (tmp_path / 'work').mkdir()
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(tmp_path)],
            env={**os.environ, 'LOCAL_RANK': str(rank),
                 'PYTHONPATH': f'{ROOT}{os.pathsep}{ROOT / "tests"}'})
        for rank in range(2)]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f'rank{rank}.pth') for rank in range(2))
    assert not torch.equal(first[1], first[3])
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


if __name__ == '__main__':
    init_default_scope('mmseg')
    train_rank(int(sys.argv[1]), sys.argv[2])
