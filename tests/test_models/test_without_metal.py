# Copyright (c) CellVTA-MMSeg contributors.
"""What Apple's GPUs (MPS) would be asked to do, on a machine without one.

A stand-in: tensors without numbers, of the meta device. Every operation of a forward
and a backward pass, and of the way of a tile, is looked up in torch's own list of
operations, which says which have code for MPS.
"""
import contextlib
import functools
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from models_of_every_kind import CASES, tensors_in
from tiny_models import build, square_sample
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_cellvta.models import deploy
from mmseg_cellvta.models.encoders.weights import fingerprint
from mmseg_cellvta.models.layers import deformable_attention

torchgen = pytest.importorskip('torchgen', reason='part of torch since 1.13')
SIZE = 64  # px


@functools.cache
def operations_with_metal():
    """Names of the operations of this torch that run on MPS, without the others."""
    path = Path(torchgen.__file__).parent / 'packaged/ATen/native/native_functions.yaml'
    entries = {entry['func'].split('(')[0]: entry
               for entry in yaml.safe_load(path.read_text())}

    def runs(entry):
        dispatch = entries[entry.get('structured_delegate', entry['func'].split('(')[0])
                           ].get('dispatch')
        keys = {key.strip() for part in dispatch or () for key in part.split(',')}
        # Without a dispatch, or a composite: made of other operations.
        return dispatch is None or any(
            key == 'MPS' or key.startswith('Composite') for key in keys)

    return {name for name, entry in entries.items() if runs(entry)}


class Metal(TorchDispatchMode):
    """Notes what MPS has not: operations without code, and tensors of float64."""

    def __init__(self):
        super().__init__()
        self.missing = set()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.namespace == 'aten':
            name = func.__name__.removesuffix('.default')
            self.seen.add(name)
            if name not in operations_with_metal():
                self.missing.add(name)
            if any(x.dtype == torch.float64 for x in tensors_in((args, kwargs, out))):
                self.missing.add(f'float64 in {name}')
        return out


@pytest.fixture
def stand_in(monkeypatch):
    """The meta device is taken for one of Apple's, and knows no autocast."""
    for module, name in ((deformable_attention, 'WITHOUT_GRID_SAMPLE_GRADIENT'),
                         (deploy, 'WITHOUT_FLOAT64')):
        assert getattr(module, name) == ('mps', )
        monkeypatch.setattr(module, name, ('meta', ))
    monkeypatch.setattr(
        torch, 'autocast', lambda *args, **kwargs: contextlib.nullcontext())


def labelled():
    sample = square_sample(tissue='lung')
    for data in sample.values():
        data.data = data.data.to('meta')
    return sample


def model_of(case):
    init_default_scope('mmseg')
    return revert_sync_batchnorm(build(CASES[case])).eval()


@pytest.mark.parametrize('case', CASES)
def test_training_needs_nothing_that_is_missing(case, stand_in):
    model = model_of(case).to('meta').train()
    with Metal() as metal:
        losses = model(torch.empty(2, 3, SIZE, SIZE, device='meta'),
                       [labelled() for _ in range(2)], mode='loss')
        sum(loss for name, loss in losses.items() if 'loss' in name).backward()
    assert not metal.missing
    assert 'convolution_backward' in metal.seen  # backward passes are looked at


@pytest.mark.parametrize('folded', [False, True])
@pytest.mark.parametrize('case', CASES)
def test_testing_needs_nothing_that_is_missing(case, folded, stand_in):
    model = model_of(case)
    if folded:
        model.switch_to_deploy()
    model.to('meta')
    with Metal() as metal, torch.no_grad():
        model.predict_maps(torch.empty(2, 3, SIZE, SIZE, device='meta'),
                           [labelled() for _ in range(2)])
    assert not metal.missing and 'convolution' in metal.seen


def test_what_is_missing_is_seen():
    points = torch.empty(1, 4, 4, 2, device='meta', requires_grad=True)
    with Metal() as metal:
        sampled = torch.nn.functional.grid_sample(
            torch.empty(1, 1, 8, 8, device='meta'), points, align_corners=False)
        sampled.double().sum().backward()
    assert metal.missing >= {'grid_sampler_2d_backward', 'float64 in _to_copy'}


def test_layers_are_folded_where_there_is_float64(monkeypatch):
    moves = []
    model = model_of('adapter_vit')
    monkeypatch.setattr(deploy, 'WITHOUT_FLOAT64', ('cpu', ))  # this one, for once
    monkeypatch.setattr(model, 'to', lambda where=None, **_: moves.append(str(where)))
    monkeypatch.setattr(deploy, '_fold', lambda _: moves.append('folded'))
    deploy.fold_segmentor(model)
    assert moves == ['cpu', 'folded', 'cpu']


class Calls(TorchFunctionMode):
    """Notes the functions of torch that are called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_a_fingerprint_is_cast_on_the_cpu():
    """A copy that casts as well, by `to`, may cast on the device."""
    with Calls() as calls:
        fingerprint(torch.nn.Linear(3, 2))
    assert 'to' not in calls.names
    assert calls.names.index('cpu') < calls.names.index('double')
