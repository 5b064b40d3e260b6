# Copyright (c) CellVTA-MMSeg contributors.
import pytest
import torch
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from mmseg_cellvta.engine import CPUAmpOptimWrapper
from mmseg_cellvta.engine.cpu_amp_optim_wrapper import has_bfloat16


def pretend_cpu(monkeypatch, *instructions):
    found = dict(avx2=True, cpu_name='some', **dict.fromkeys(instructions, True))
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: found)


def build(net):
    return OPTIM_WRAPPERS.build(
        dict(
            type='CPUAmpOptimWrapper',
            optimizer=torch.optim.SGD(net.parameters(), lr=0.5),
            clip_grad=dict(max_norm=1.0)))


@pytest.mark.parametrize('instructions, expected', [
    ((), False),
    (('avx512_f', 'avx512_vnni'), False),
    (('avx512_bf16', ), True),
    (('amx_bf16', ), True),
])
def test_bfloat16_is_used_only_where_the_cpu_computes_in_it(
        monkeypatch, instructions, expected):
    pretend_cpu(monkeypatch, *instructions)
    assert has_bfloat16() is expected
    net = nn.Linear(3, 2)
    wrapper = build(net)
    assert isinstance(wrapper, CPUAmpOptimWrapper)
    with wrapper.optim_context(net):
        dtype = net(torch.ones(1, 3)).dtype
    assert dtype == (torch.bfloat16 if expected else torch.float32)
    assert net(torch.ones(1, 3)).dtype == torch.float32


def test_a_torch_that_does_not_tell_trains_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, 'get_capabilities')
    assert not has_bfloat16()


def test_step_updates_float32_weights_with_the_clipped_gradient(monkeypatch):
    pretend_cpu(monkeypatch, 'avx512_bf16')
    net = nn.Linear(2, 1, bias=False)
    net.weight.data = torch.tensor([[1.0, 2.0]])
    wrapper = build(net)
    with wrapper.optim_context(net):
        loss = net(torch.tensor([[3.0, 4.0]])).float().sum()
    wrapper.update_params(loss)
    assert net.weight.dtype == torch.float32
    # The gradient (3, 4) is cut to the length 1, and half of it is taken off.
    torch.testing.assert_close(net.weight.data, torch.tensor([[0.7, 1.6]]))


def test_gradients_are_accumulated_as_by_a_plain_wrapper(monkeypatch):
    pretend_cpu(monkeypatch, 'avx512_bf16')
    net = nn.Linear(2, 1, bias=False)
    net.weight.data.zero_()
    wrapper = CPUAmpOptimWrapper(
        torch.optim.SGD(net.parameters(), lr=1.0), accumulative_counts=2)
    wrapper.initialize_count_status(net, 0, 2)
    for inputs in ([1.0, 0.0], [0.0, 1.0]):
        with wrapper.optim_context(net):
            loss = net(torch.tensor([inputs])).float().sum()
        wrapper.update_params(loss)
    torch.testing.assert_close(net.weight.data, torch.tensor([[-0.5, -0.5]]))


@pytest.mark.parametrize('device, expected', [
    ('cpu', ['This CPU trains the network in bfloat16.']),
    ('meta', []),  # stands for a GPU
])
def test_precision_is_told_once_and_only_where_a_cpu_trains(
        monkeypatch, device, expected):
    pretend_cpu(monkeypatch, 'avx512_bf16')
    said = []
    monkeypatch.setattr(
        'mmseg_cellvta.engine.cpu_amp_optim_wrapper.print_log',
        lambda message, logger: said.append(message))
    net = nn.Linear(2, 1, device=device)
    wrapper = build(net)
    assert not said  # a tool that only counts the model builds a wrapper too
    wrapper.initialize_count_status(net, 0, 2)
    assert said == expected
