# Copyright (c) CellVTA-MMSeg contributors.
from types import SimpleNamespace

import pytest
import torch

from mmseg_cellvta.inference.network import TileNetwork
from mmseg_cellvta.inference.progress import NetworkTimer
from mmseg_cellvta.utils import devices

MPS_FULL = 'MPS backend out of memory (MPS allocated: 17.9 GB, max allowed: 18.1 GB)'


@pytest.fixture
def machine(monkeypatch):
    """A machine with accelerators of a kind, which torch here may not even know."""
    def make(kind, count=1):
        calls = []
        module = SimpleNamespace(
            device_count=lambda: count,
            synchronize=lambda *device: calls.append('synchronize'),
            empty_cache=lambda: calls.append('empty_cache'))
        monkeypatch.setattr(devices, 'get_device', lambda: kind)
        monkeypatch.setattr(devices, 'device_module', lambda device: module)
        return calls

    return make


@pytest.mark.parametrize('kind, count, names', [
    ('cpu', 0, ['cpu']), ('cuda', 2, ['cpu', 'cuda:0', 'cuda:1']),
    ('mps', 1, ['cpu', 'mps:0']), ('npu', 2, ['cpu', 'npu:0', 'npu:1'])])
def test_the_devices_are_those_of_mmengine(machine, kind, count, names):
    machine(kind, count)
    assert devices.device_names() == names
    for name in (kind, *names):
        devices.check_device(name)
    for name in ('gpu', 'meta', f'{kind}:7', 'xpu'):
        with pytest.raises(ValueError, match=(
                f'--device {name}: no such device; this machine has cpu')):
            devices.check_device(name)


@pytest.mark.parametrize('kind, count, expected', [
    ('cpu', 0, ['cpu', 'cpu', 'cpu']), ('mps', 1, ['mps:0', 'mps:0', 'mps:0']),
    ('npu', 2, ['npu:0', 'npu:1', 'npu:0'])])
def test_processes_share_the_devices(machine, kind, count, expected):
    machine(kind, count)
    assert [devices.process_device(rank) for rank in range(3)] == expected


def test_an_accelerator_is_waited_for_by_its_own_module(machine):
    calls = machine('mps')
    devices.synchronize('cpu')
    devices.empty_cache('cpu')
    assert calls == []
    devices.synchronize('mps')
    devices.empty_cache(torch.device('mps'))
    assert calls == ['synchronize', 'empty_cache']


@pytest.mark.parametrize('error, full', [
    (RuntimeError(MPS_FULL), True), (torch.cuda.OutOfMemoryError('CUDA'), True),
    (RuntimeError('NPU out of memory. Tried to allocate 2 GiB'), True),
    (RuntimeError('invalid shape'), False)])
def test_a_full_device_ends_the_search_for_a_batch_size(monkeypatch, error, full):
    def seconds(network, batch_size, tile):
        if batch_size == 4:
            raise error
        return 1 / batch_size

    monkeypatch.setattr(TileNetwork, '_seconds', seconds)
    network = TileNetwork.__new__(TileNetwork)
    network.device = torch.device('cpu')
    if full:
        assert network.find_batch_size((64, 64)) == 2
    else:
        with pytest.raises(RuntimeError, match='invalid shape'):
            network.find_batch_size((64, 64))


def test_the_clock_of_an_accelerator_measures_its_work(monkeypatch):
    ticks = iter(range(100, 900, 100))  # ms

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.ms = next(ticks)

        def synchronize(self):
            pass

        def elapsed_time(self, end):
            return end.ms - self.ms

    monkeypatch.setattr(torch.mps, 'Event', Event, raising=False)
    timer = NetworkTimer(torch.device('mps'))
    for _ in range(2):
        with timer():
            pass
    assert timer.read() == (0.2, 0.3)
