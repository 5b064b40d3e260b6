# Copyright (c) CellVTA-MMSeg contributors.
"""What a GPU would be asked to do, on a machine without one.

Fake tensors know their shape, type and device, and no numbers: the models run on
'cuda' and every operation is looked at. Backward passes cannot be run this way.
"""
import contextlib
import functools
from dataclasses import dataclass
from unittest import mock

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from models_of_every_kind import CASES, tensors_in
from tiny_models import CLASSES, SEGMENTOR, build, square_sample
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mmseg_cellvta.models import CellSegmentor
from mmseg_cellvta.models.layers import deformable_attention

BATCH = 2
SIZE = 64  # px
DTYPES = torch.float32, torch.float16, torch.bfloat16
# Multiply-adds. A layer of this many here, with 1/32 of ViT-L's channels and 1/16 of
# its usual tokens, has more than 10 million there.
LARGE = 5e3
# Every large convolution or product of matrices that stays in float32 under autocast,
# by the name of its layer or the class of its loss, and why.
KEPT_IN_FLOAT32 = dict(
    sampling_offsets='half precision would move the points that are sampled',
    attention_weights='shares its float32 queries with the offsets; a cast costs more',
    HVGradientLoss='losses are float32; 25 multiply-adds for each value of a map')
# Operations whose result the host waits for.
WAITING = ('_local_scalar_dense', 'equal', 'is_nonzero', 'masked_select', 'nonzero',
           'unique', '_unique2', 'bincount')


@dataclass
class Operation:
    """What one operation of torch did, and for which module."""

    name: str
    module: str
    devices: set
    dtypes: set  # of its floating-point inputs
    macs: int
    indexed_by_mask: bool
    non_blocking: bool


class Watch(TorchDispatchMode):
    """Notes every operation that runs under it; `modules` are those it runs in."""

    def __init__(self, modules):
        super().__init__()
        self.modules = modules
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.namespace == 'prim':  # asks a tensor for its device
            return out
        inputs, outputs, indices = map(
            tensors_in, ((args, kwargs), out, args[1:2]))
        name = func._overloadpacket.__name__
        count = flop_registry.get(func._overloadpacket)
        self.operations.append(Operation(
            name=name,
            module=self.modules[-1],
            devices={x.device.type for x in inputs + outputs},
            dtypes={x.dtype for x in inputs if x.is_floating_point()},
            macs=count(*args, **kwargs, out_val=out) // 2 if count else 0,
            indexed_by_mask=name.startswith(('index', '_index')) and any(
                x.dtype == torch.bool for x in indices),
            non_blocking=kwargs.get('non_blocking', False)))
        return out


@dataclass
class Run:
    dtype: torch.dtype
    operations: list
    losses: dict
    maps: list


def move_to_fake_cuda(model):
    """Replaces parameters and buffers; in a `FakeTensorMode`."""
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = torch.nn.Parameter(
                    torch.empty(value.shape, device='cuda'), value.requires_grad)
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = torch.empty(
                    value.shape, dtype=value.dtype, device='cuda')


def note_modules(model):
    """Returns a list that always ends with the name of the module that is running."""
    running = ['model']

    def stop(*_):
        running.pop()

    for path, module in model.named_modules():
        name = path.split('.')[-1]
        if name.isdigit():
            name = type(module).__name__
        module.register_forward_pre_hook(
            lambda *_, name=name: running.append(name))
        module.register_forward_hook(stop)
    return running


@contextlib.contextmanager
def autocast(dtype):
    """Autocast on 'cuda', which torch would switch off without a GPU.

    Fused attention is not to be had either; its plain form would compute in float32.
    """
    narrow = torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    narrow(True)
    with mock.patch('torch.cuda.amp.common.amp_definitely_not_available',
                    return_value=False), \
            mock.patch('torch.cuda.is_bf16_supported', return_value=True), \
            torch.autocast('cuda', dtype, enabled=dtype != torch.float32):
        assert torch.is_autocast_enabled() == (dtype != torch.float32)
        yield
    narrow(before)


@functools.cache
def fake_model(case, deploy):
    """A model on 'cuda' whose caches are filled for images of `SIZE`."""
    init_default_scope('mmseg')
    model = revert_sync_batchnorm(build(CASES[case])).eval()
    if deploy:
        model.switch_to_deploy()
    running = note_modules(model)
    mode = FakeTensorMode()
    with mode:
        move_to_fake_cuda(model)
        with torch.no_grad():
            model.extract_feat(torch.empty(1, 3, SIZE, SIZE, device='cuda'))
    return model, running, mode


FORMS = [False, True] if hasattr(CellSegmentor, 'switch_to_deploy') else [False]


@pytest.fixture(scope='module', params=[
    pytest.param((case, dtype, deploy), id=f'{case}-{str(dtype)[6:]}-{deploy=}')
    for case in CASES for deploy in FORMS for dtype in DTYPES
])
def run(request):
    """Losses, but for the deploy form, and maps, with every operation on the way."""
    return watch(*request.param)


@functools.cache
def watch(case, dtype, deploy):
    model, running, mode = fake_model(case, deploy)
    losses = {}
    with mode:
        # As the data preprocessor hands them over.
        inputs = torch.empty(BATCH, 3, SIZE, SIZE, device='cuda')
        samples = [square_sample(tissue='lung').to('cuda') for _ in range(BATCH)]
        with Watch(running) as watched, autocast(dtype):
            if not deploy:
                losses = model.train()(inputs, samples, mode='loss')
            with torch.no_grad():
                maps = model.eval().predict_maps(inputs, samples)
    return Run(dtype, watched.operations, losses, maps)


def test_nothing_leaves_the_device_or_comes_to_it(run):
    """Not even numbers: tensors on the CPU are what a copy begins or ends with."""
    assert not [op for op in run.operations if op.devices - {'cuda'}]


def test_nothing_waits_for_a_result(run):
    assert not [op for op in run.operations
                if op.name in WAITING or op.indexed_by_mask]


def test_large_products_are_computed_in_the_type_of_autocast(run):
    large = [op for op in run.operations if op.macs > LARGE]
    kept = [op for op in large if op.module in KEPT_IN_FLOAT32]
    assert len(large) - len(kept) > 20
    assert not [op for op in large if op not in kept and op.dtypes != {run.dtype}]
    assert not [op for op in kept if op.dtypes != {torch.float32}]


def test_losses_and_maps_are_float32(run):
    assert {loss.dtype for loss in run.losses.values()} <= {torch.float32}
    tensors = tensors_in(run.maps)
    assert {x.dtype for x in tensors} == {torch.float32}
    assert tensors[0].shape == (4 + CLASSES, SIZE, SIZE)


def test_every_layer_that_stays_in_float32_is_there():
    seen = {op.module for case in ('adapter_vit', 'hovernet')
            for op in watch(case, torch.float16, False).operations if op.macs > LARGE}
    assert set(KEPT_IN_FLOAT32) <= seen


@pytest.mark.parametrize('dtype', DTYPES)
def test_the_compiled_op_gets_what_it_takes(dtype, monkeypatch):
    calls = []

    class CompiledOp:
        @staticmethod
        def apply(value, shapes, starts, locations, weights, step):
            calls.append((value, shapes, starts, locations, weights))
            assert BATCH % step == 0
            return value.new_empty(len(value), locations.shape[1], value[0, 0].numel())

    model, running, mode = fake_model('adapter_vit', False)
    monkeypatch.setattr(deformable_attention, 'COMPILED_ATTENTION', CompiledOp)
    with mode, torch.no_grad(), autocast(dtype):
        inputs = torch.empty(BATCH, 3, SIZE, SIZE, device='cuda')
        with Watch(running) as watch:
            model.eval().extract_feat(inputs)
    assert len(calls) == 8  # an injector and an extractor for each stage
    for value, shapes, starts, locations, weights in calls:
        assert value.dtype == locations.dtype == weights.dtype == torch.float32
        assert shapes.dtype == starts.dtype == torch.int64
        assert all(x.is_contiguous() and x.is_cuda for x in (
            value, shapes, starts, locations, weights))
    assert not [op for op in watch.operations if op.devices - {'cuda'}]


def test_one_warning_says_that_mmcv_has_no_cuda(monkeypatch, recwarn):
    monkeypatch.setattr(deformable_attention, 'COMPILED_ATTENTION', None)
    deformable_attention._warn_of_plain_form.cache_clear()
    model, _, mode = fake_model('adapter_vit', False)
    with mode, torch.no_grad():
        for _ in range(2):
            model.extract_feat(torch.empty(1, 3, SIZE, SIZE, device='cuda'))
    ours = [w for w in recwarn if 'mmcv has no CUDA operators' in str(w.message)]
    assert len(ours) == 1 and 'Install an mmcv built with CUDA' in str(ours[0].message)


def test_the_data_preprocessor_copies_the_batch_and_nothing_else():
    preprocessor = build(SEGMENTOR['data_preprocessor'])
    preprocessor._device = torch.device('cuda')  # as `.to('cuda')` does
    with FakeTensorMode():
        move_to_fake_cuda(preprocessor)
        batch = dict(
            inputs=[torch.empty(3, SIZE, SIZE, dtype=torch.uint8) for _ in range(2)],
            data_samples=[square_sample() for _ in range(2)])
        with Watch(['preprocessor']) as watched:
            data = preprocessor(batch, training=True)
    copies = [op for op in watched.operations if op.devices - {'cuda'}]
    # Two images, two samples of three maps.
    assert [(op.name, op.non_blocking) for op in copies] == [('_to_copy', True)] * 8
    assert data['inputs'].is_cuda and data['data_samples'][0].gt_hv_map.data.is_cuda
