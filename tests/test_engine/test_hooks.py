# Copyright (c) CellVTA-MMSeg contributors.
import itertools
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample
from tiny_models import SEGMENTOR, build, square_sample
from torch.utils.data import Dataset

from mmseg_cellvta.engine import CellVisualizationHook, SwitchToDeployHook
from mmseg_cellvta.models import CellTTAModel
from mmseg_cellvta.utils.plain_loading import CheckpointError

RUNNER = SimpleNamespace(iter=120)
COUNTER = itertools.count()
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@pytest.fixture
def drawn(monkeypatch):
    """What the visualizer is asked to draw."""
    calls = []
    visualizer = SimpleNamespace(add_datasample=lambda name, image, **options: (
        calls.append(SimpleNamespace(name=name, image=image, **options))))
    monkeypatch.setattr(Visualizer, 'get_current_instance', lambda: visualizer)
    return calls


@pytest.fixture
def png(tmp_path):
    """A red image file."""
    path = tmp_path / 'red.png'
    cv2.imwrite(str(path), np.full((8, 8, 3), (0, 0, 255), np.uint8))
    return str(path)


def sample(**metainfo) -> SegDataSample:
    return SegDataSample(metainfo=metainfo)


def test_every_test_sample_is_drawn_in_rgb(drawn, png):
    hook = CellVisualizationHook(draw=True, interval=50, show=True, wait_time=3)
    for batch_idx in range(3):
        hook.after_test_iter(RUNNER, batch_idx, outputs=[sample(img_path=png)] * 2)
    assert [call.name for call in drawn] == ['test_red'] * 6
    assert drawn[0].image[0, 0].tolist() == [255, 0, 0]
    assert drawn[0].show is True and drawn[0].wait_time == 3


def test_images_inside_a_npy_file_are_drawn_with_their_own_name(drawn, tmp_path):
    path = tmp_path / 'images.npy'
    images = np.zeros((3, 8, 8, 3), np.uint8)
    images[2, ..., 1] = 77
    np.save(path, images)
    outputs = [sample(img_path=str(path), img_index=2, sample_name='consep_1-0002')]
    CellVisualizationHook(draw=True).after_test_iter(RUNNER, 0, outputs=outputs)
    call, = drawn
    assert call.name == 'test_consep_1-0002'
    assert np.array_equal(call.image, images[2])


def test_validation_draws_first_sample_of_every_interval_th_batch(drawn, png):
    hook = CellVisualizationHook(draw=True, interval=2)
    for batch_idx in range(4):
        hook.after_val_iter(RUNNER, batch_idx, outputs=[
            sample(img_path=png, sample_name=f'{batch_idx}-{i}') for i in range(2)])
    assert [call.name for call in drawn] == ['val_0-0', 'val_2-0']
    assert drawn[0].step == RUNNER.iter


def test_nothing_is_drawn_by_default(drawn, png):
    hook = HOOKS.build(dict(type='mmseg.CellVisualizationHook'))
    hook.after_val_iter(RUNNER, 0, outputs=[sample(img_path=png)])
    hook.after_test_iter(RUNNER, 0, outputs=[sample(img_path=png)])
    assert drawn == []


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


def make_square_runner(work_dir, load_from=None, tta=False, **preprocessor):
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
    make_square_runner(work_dir, **IMAGENET).train()
    return work_dir / 'epoch_1.pth'


def test_meta_names_mean_and_std(checkpoint):
    saved = torch.load(checkpoint, weights_only=True)['meta']['normalization']
    assert saved == IMAGENET


def test_same_normalization_tests_and_resumes(checkpoint, tmp_path):
    make_square_runner(tmp_path, str(checkpoint), **IMAGENET).test()
    runner = make_square_runner(tmp_path, **IMAGENET)
    runner.resume(str(checkpoint))
    assert runner.epoch == 1


@pytest.mark.parametrize('preprocessor', [{}, dict(mean=None, std=None)])
@pytest.mark.parametrize('tta', [False, True])
def test_another_normalization_is_refused_in_one_sentence(
        checkpoint, tmp_path, tta, preprocessor):
    make_square_runner(tmp_path, tta=tta, **IMAGENET).load_checkpoint(str(checkpoint))
    with pytest.raises(ValueError, match='normalised by.*123.675.*but.*set its mean'):
        make_square_runner(tmp_path, str(checkpoint), tta, **preprocessor).test()


def test_checkpoint_that_says_nothing_is_taken(checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    del content['meta']['normalization']
    torch.save(content, tmp_path / 'silent.pth')
    make_square_runner(tmp_path, str(tmp_path / 'silent.pth')).test()


def test_model_that_does_not_normalize_writes_nothing(tmp_path):
    make_square_runner(tmp_path, mean=None, std=None).train()
    content = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    assert 'normalization' not in content['meta']


def make_test_runner(work_dir, checkpoint, hooks=(), tta=False):
    runner = make_square_runner(work_dir, str(checkpoint), tta=tta, **IMAGENET)
    for hook in [SwitchToDeployHook(), *hooks]:
        runner.register_hook(hook)
    return runner


@pytest.mark.parametrize('wrapped', [False, True])
@pytest.mark.parametrize('tta', [False, True])
def test_a_test_runs_the_form_for_inference(checkpoint, tmp_path, wrapped, tta):
    runner = make_test_runner(tmp_path, checkpoint, tta=tta)
    model = runner.model.module if tta else runner.model
    if wrapped:
        runner.model = torch.nn.DataParallel(runner.model, device_ids=[])
    runner.call_hook('before_test')
    assert model.deployed


def test_the_folded_weights_are_those_of_the_checkpoint(checkpoint, tmp_path):
    image = torch.rand(1, 3, 64, 64)
    maps = []
    for folder, hooks in (('normal', ()), ('folded', [SwitchToDeployHook()])):
        runner = make_square_runner(tmp_path / folder, str(checkpoint), **IMAGENET)
        for hook in hooks:
            runner.register_hook(hook)
        runner.test()
        with torch.no_grad():
            maps.append(runner.model(image, mode='tensor')['nc'])
    torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('tta', [False, True])
@pytest.mark.parametrize('key', [
    'decode_head.branches.nc.levels.3.2.weight', 'backbone.level_embed',
    'backbone.encoder.vit.blocks.1.norm1.weight'])
def test_a_checkpoint_without_all_weights_is_not_tested(
        checkpoint, tmp_path, key, tta):
    content = torch.load(checkpoint)
    del content['state_dict'][key]
    torch.save(content, tmp_path / 'part.pth')
    runner = make_test_runner(tmp_path, tmp_path / 'part.pth', tta=tta)
    with pytest.raises(CheckpointError, match=f'part.pth: 1 weights .*first: {key}'):
        runner.test()


def test_weights_that_are_exchanged_after_the_test_stay_as_they_are(
        checkpoint, tmp_path):
    runner = make_test_runner(tmp_path, checkpoint, [EMAHook()])
    runner.test()
    assert not runner.model.deployed


@pytest.mark.parametrize('tta', [False, True])
def test_an_average_is_tested_with_the_weights_of_the_checkpoint(
        checkpoint, tmp_path, tta):
    runner = make_test_runner(tmp_path, checkpoint, [EMAHook()], tta)
    runner.call_hook('before_run')
    runner.load_or_resume()
    runner.call_hook('before_test_epoch')  # from here on the average is in the model
    model = runner.model.module if tta else runner.model
    saved = torch.load(checkpoint, weights_only=True)['state_dict']
    assert saved.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(saved[key], value), key


def test_a_training_and_its_validation_never_switch(tmp_path):
    runner = make_square_runner(tmp_path, **IMAGENET)
    runner.register_hook(SwitchToDeployHook())
    runner.train()
    assert not runner.model.deployed
