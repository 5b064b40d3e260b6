# Copyright (c) CellVTA-MMSeg contributors.
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from tiny_models import ENCODER, SEGMENTOR, build  # noqa: E402
from tiny_training import make_runner  # noqa: E402

from mmseg_cellvta.engine import PlainCheckpointHook, UnfreezeEncoderHook
from mmseg_cellvta.models.encoders import TimmEncoder

ROOT = Path(__file__).resolve().parents[3]
if __name__ == '__main__':
    sys.path.insert(0, str(ROOT / 'tests'))


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


def test_a_schedule_of_iterations_is_refused(tmp_path):
    runner = make_runner(
        tmp_path, cellvit(), hooks=[UnfreezeEncoderHook(epoch=2)],
        train_cfg=dict(by_epoch=False, max_iters=1))
    with pytest.raises(ValueError, match=r'epoch=2\) counts epochs.*EpochBased'):
        runner.train()


def train_rank(rank: int, folder: str) -> None:
    """Trains in two processes, each with one of the pictures."""
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
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'LOCAL_RANK': str(rank)})
        for rank in range(2)]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f'rank{rank}.pth') for rank in range(2))
    assert not torch.equal(first[1], first[3])
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


if __name__ == '__main__':
    init_default_scope('mmseg')
    train_rank(int(sys.argv[1]), sys.argv[2])
