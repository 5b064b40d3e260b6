# Copyright (c) CellVTA-MMSeg contributors.
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.visualization import Visualizer
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from mmseg_cellvta.engine import CellVisualizationHook

RUNNER = SimpleNamespace(iter=120)


class Recorder:
    """Stands in for the visualizer and keeps what it is asked to draw."""

    def __init__(self):
        self.calls = []

    def add_datasample(self, name, image, **kwargs):
        self.calls.append(SimpleNamespace(name=name, image=image, **kwargs))


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(Visualizer, 'get_current_instance', lambda: recorder)
    return recorder


@pytest.fixture
def png(tmp_path):
    """A red picture file."""
    path = tmp_path / 'red.png'
    cv2.imwrite(str(path), np.full((8, 8, 3), (0, 0, 255), np.uint8))
    return str(path)


def sample(**metainfo) -> SegDataSample:
    return SegDataSample(metainfo=metainfo)


def test_picture_files_are_drawn_in_rgb(recorder, png):
    hook = CellVisualizationHook(draw=True)
    hook.after_test_iter(RUNNER, 0, outputs=[sample(img_path=png)])
    (call,) = recorder.calls
    assert call.name == 'test_red'
    assert call.image[0, 0].tolist() == [255, 0, 0]


def test_patches_inside_a_npy_file_are_drawn_with_their_own_name(recorder, tmp_path):
    path = tmp_path / 'images.npy'
    images = np.zeros((3, 8, 8, 3), np.uint8)
    images[2, ..., 1] = 77
    np.save(path, images)
    outputs = [sample(img_path=str(path), img_index=2, sample_name='consep_1-0002')]
    CellVisualizationHook(draw=True).after_test_iter(RUNNER, 0, outputs=outputs)
    (call,) = recorder.calls
    assert call.name == 'test_consep_1-0002'
    assert np.array_equal(call.image, images[2])


def test_every_test_sample_is_drawn(recorder, png):
    hook = CellVisualizationHook(draw=True, interval=50)
    for batch_idx in range(3):
        hook.after_test_iter(RUNNER, batch_idx, outputs=[sample(img_path=png)] * 2)
    assert len(recorder.calls) == 6


def test_validation_draws_first_sample_of_every_interval_th_batch(recorder, png):
    hook = CellVisualizationHook(draw=True, interval=2)
    for batch_idx in range(4):
        outputs = [
            sample(img_path=png, sample_name=f'{batch_idx}-{i}') for i in range(2)
        ]
        hook.after_val_iter(RUNNER, batch_idx, outputs=outputs)
    assert [call.name for call in recorder.calls] == ['val_0-0', 'val_2-0']
    assert recorder.calls[0].step == RUNNER.iter


def test_nothing_is_drawn_by_default(recorder, png):
    hook = HOOKS.build(dict(type='mmseg.CellVisualizationHook'))
    hook.after_val_iter(RUNNER, 0, outputs=[sample(img_path=png)])
    hook.after_test_iter(RUNNER, 0, outputs=[sample(img_path=png)])
    assert recorder.calls == []


def test_show_and_wait_time_reach_the_visualizer(recorder, png):
    hook = CellVisualizationHook(draw=True, show=True, wait_time=3)
    hook.after_test_iter(RUNNER, 0, outputs=[sample(img_path=png)])
    assert recorder.calls[0].show is True and recorder.calls[0].wait_time == 3


def test_missing_picture_is_named(recorder, tmp_path):
    hook = CellVisualizationHook(draw=True)
    path = str(tmp_path / 'gone.png')
    with pytest.raises(FileNotFoundError, match='gone.png'):
        hook.after_test_iter(RUNNER, 0, outputs=[sample(img_path=path)])
