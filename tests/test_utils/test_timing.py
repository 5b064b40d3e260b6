# Copyright (c) CellVTA-MMSeg contributors.
import sys

import pytest
import torch
from mmengine.config import Config
from tiny_models import SEGMENTOR

from mmseg_cellvta.utils.complexity import measure_timing

CONFIG = dict(
    model=SEGMENTOR,
    optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)))
needs_linux = pytest.mark.skipif(
    sys.platform != 'linux', reason='peak memory of a CPU is read from /proc')


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'tiny.py'
    Config(CONFIG).dump(path)
    return str(path)


@needs_linux
def test_a_training_step_takes_more_than_a_forward_pass(config):
    timing = measure_timing(config, None, (64, 64), 2, 'cpu', repeats=3)
    assert 0 < timing.forward_s < timing.train_step_s < 10


@needs_linux
def test_memory_that_a_step_takes_is_seen(config, monkeypatch):
    forward = torch.nn.Module.__call__
    size = 200 * 1024**2

    def greedy(module, *args, **kwargs):
        if kwargs.get('mode') == 'tensor':
            torch.ones(size, dtype=torch.uint8)  # freed at once: only a peak has it
        return forward(module, *args, **kwargs)

    monkeypatch.setattr('mmseg.models.EncoderDecoder.__call__', greedy, raising=False)
    timing = measure_timing(config, None, (64, 64), 1, 'cpu', repeats=1)
    assert timing.forward_mib > 150  # some of it may come from what was freed before


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_a_gpu_memory_is_what_torch_has_allocated(config):
    timing = measure_timing(config, None, (64, 64), 2, 'cuda', repeats=3)
    assert 0 < timing.forward_mib < timing.train_mib


def test_a_tissue_head_is_trained_too(config):
    heads = dict(type='CrossEntropyLoss', loss_weight=0.1)
    options = {'model.backbone.out_cls_token': True,
               'model.decode_head.tissue_classes': ['Colon', 'Skin'],
               'model.decode_head.loss_tissue': heads}
    if sys.platform != 'linux':
        pytest.skip('peak memory of a CPU is read from /proc')
    assert measure_timing(config, options, (64, 64), 1, 'cpu', 1).train_step_s > 0
