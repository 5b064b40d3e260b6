# Copyright (c) CellVTA-MMSeg contributors.
import math

import numpy as np
import pytest
import torch
from mmengine.config import Config
from slide_files import color_field, write_slide
from tiny_models import SEGMENTOR

from mmseg_cellvta.models.segmentors import CellSegmentor
from mmseg_cellvta.utils import complexity, gpu_check
from mmseg_cellvta.utils.gpu_check import (
    OP_SHAPES,
    Setup,
    all_cases,
    check_forward,
    check_op,
    check_training,
    op_inputs,
    relative_difference,
    sample_torch,
)
from mmseg_cellvta.utils.machine import describe_machine

SMALL_OP = 20, ((4, 6), (2, 3))


def setup_of(folder, lr=1e-4, **changes):
    path = folder / 'tiny.py'
    Config(dict(model=SEGMENTOR, optim_wrapper=dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=lr)))).dump(path)
    return Setup(str(path), 'cpu', batch_size=2, side=64, repeats=2, **changes)


@pytest.fixture
def setup(tmp_path):
    return setup_of(tmp_path)


def test_locations_keep_away_from_where_gradients_jump():
    for num_queries, shapes in OP_SHAPES.values():
        value, locations, weights, _ = op_inputs(1, num_queries, shapes, 'cpu')
        assert value.shape[1] == sum(height * width for height, width in shapes)
        torch.testing.assert_close(
            weights.sum((-1, -2)), torch.ones(weights.shape[:-2]))
        for level, (height, width) in enumerate(shapes):
            size = torch.tensor([width, height])
            px = locations.detach()[:, :, :, level] * size - 0.5
            assert 0.04 < float((px - px.floor()).min())
            assert float((px - px.floor()).max()) < 0.96
            outside = (px < 0).any(-1) | (px[..., 0] > width) | (px[..., 1] > height)
            assert 0.01 < float(outside.float().mean()) < 0.7


def wrong_output(*args):
    return 1.001 * sample_torch(*args)


def wrong_gradient(value, levels, locations, weights):
    return sample_torch(value, levels, 2 * locations - locations.detach(), weights)


def no_number(*args):
    return math.nan * sample_torch(*args)


@pytest.mark.parametrize(('sample', 'wrong'), [
    (sample_torch, ''), (wrong_output, 'output, value_grad'),
    (wrong_gradient, 'location_grad:'), (no_number, 'output')])
def test_an_op_that_differs_is_wrong(setup, monkeypatch, sample, wrong):
    monkeypatch.setattr(gpu_check, 'why_no_op', lambda device: '')
    monkeypatch.setattr(gpu_check, 'sample_compiled', sample)
    result = check_op(setup, *SMALL_OP)
    assert result.broken == bool(wrong) and result.remark.startswith(wrong)
    assert result.figures['compiled_ms'] > 0


def test_without_a_compiled_op_only_the_torch_form_is_timed(setup):
    result = check_op(setup, *SMALL_OP)
    assert list(result.figures) == ['torch_ms'] and not result.broken
    assert 'torch form' in result.remark


@pytest.mark.parametrize(('dtype', 'low', 'high'), [
    ('float32', 0, 0), ('bfloat16', 1e-4, 0.1)])
def test_forward_passes_are_timed_and_compared(setup, dtype, low, high):
    result = check_forward(setup, dtype, deploy=False)
    figures = result.figures
    assert not result.broken and low <= figures['apart'] <= high
    assert figures['images_per_s'] == pytest.approx(2000 / figures['ms'])


@pytest.mark.parametrize(('factor', 'remark'), [
    (1.0, ''), (1.1, 'not those of the normal form'), (math.nan, 'not finite')])
def test_a_deploy_form_with_other_maps_is_wrong(setup, monkeypatch, factor, remark):
    def switch_to_deploy(model):
        for parameter in model.decode_head.parameters():
            parameter.data.mul_(factor)

    monkeypatch.setattr(
        CellSegmentor, 'switch_to_deploy', switch_to_deploy, raising=False)
    result = check_forward(setup, 'float32', deploy=True)
    assert result.broken == bool(remark) and remark in result.remark


def test_a_compiled_network_is_what_torch_compiles(setup, monkeypatch):
    compiled = []
    monkeypatch.setattr(
        torch, 'compile', lambda model: compiled.append(model) or model)
    result = check_forward(setup, 'float32', deploy=False, compiled=True)
    assert len(compiled) == 1 and not result.broken


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_training_steps_are_timed(setup, dtype):
    result = check_training(setup, dtype, with_cp=False)
    assert not result.broken and result.figures['loss'] > 0


def test_a_loss_that_is_no_number_is_wrong(tmp_path):
    result = check_training(setup_of(tmp_path, lr=1e38), 'float32', with_cp=False)
    assert result.broken and result.remark == 'the loss is not finite'


def test_the_cases_that_may_take_minutes_come_last():
    cases = all_cases(Setup('config.py', 'cuda', slide='folder/a.svs'))
    apart = [case.apart for case in cases]
    assert apart == sorted(apart) and sum(apart) == 3
    assert len({(case.part, case.name) for case in cases}) == len(cases) == 18
    assert [case.name for case in cases if case.part == 'slide'] == ['a.svs']
    # A CPU has no loss scaler to train in float16 with.
    on_cpu = all_cases(Setup('config.py', 'cpu', compiled=False))
    assert {case.part for case in on_cpu} == {
        'compiled op', 'forward', 'training step'}
    assert len(on_cpu) == 13


@pytest.mark.parametrize('device, dtypes', [
    ('cpu', {'float32', 'bfloat16'}), ('mps', {'float32'}),
    ('cuda', {'float32', 'bfloat16', 'float16'}),
    ('npu', {'float32', 'bfloat16', 'float16'})])
def test_training_is_tried_in_the_types_that_a_device_trains_in(device, dtypes):
    cases = all_cases(Setup('config.py', device, compiled=False))
    assert {case.name.split()[-1] for case in cases
            if case.part == 'training step'} == dtypes


def test_without_a_gradient_of_grid_sample_rows_are_timed(monkeypatch):
    def no_gradient(*args):
        raise NotImplementedError('grid_sampler_2d_backward')

    monkeypatch.setattr(gpu_check, 'sample_torch', no_gradient)
    monkeypatch.setattr(gpu_check, 'WITHOUT_GRID_SAMPLE_GRADIENT', ('cpu', ))
    result = check_op(Setup('config.py', 'cpu', 1, repeats=1), *SMALL_OP)
    assert result.figures['torch_ms'] > 0 and not result.broken
    assert result.remark == 'on cpu the torch form is used'


def test_a_system_that_tells_neither_cores_nor_memory(monkeypatch, tmp_path):
    monkeypatch.delattr('os.sched_getaffinity')
    monkeypatch.setattr('os.cpu_count', lambda: 10)
    monkeypatch.setattr(complexity, 'STATUS', tmp_path / 'status')
    machine = describe_machine()
    assert machine['processor'] == '10 cores to use' and 'cpu' in machine['devices']
    seconds, peak_mib = complexity.measure_call(lambda: None, 'cpu', repeats=1)
    assert seconds >= 0 and math.isnan(peak_mib)


def test_of_a_large_slide_the_middle_is_looked_at(tmp_path):
    image = color_field(640, 960)
    path = write_slide(tmp_path / 'large.tif', image, mpp=2.0)
    part, mpp, mm2 = gpu_check._part_of_slide(str(path))
    assert (mpp, mm2) == (2.0, 1.0)
    np.testing.assert_array_equal(part, image[70:570, 230:730])
    small = write_slide(tmp_path / 'small.tif', image, mpp=1.0)
    assert gpu_check._part_of_slide(str(small)) == (
        str(small), None, pytest.approx(0.6144))


def test_differences_are_relative_to_the_largest_value():
    exact = torch.tensor([[4.0, -8.0]])
    assert relative_difference(exact + 0.4, exact) == pytest.approx(0.05)
    assert math.isnan(relative_difference(exact / 0, exact))
