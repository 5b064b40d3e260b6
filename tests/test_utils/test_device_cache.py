# Copyright (c) CellVTA-MMSeg contributors.
import copy
import pickle

import torch
from torch import nn

from mmseg_cellvta.utils.device_cache import KEPT, DeviceCache, numbers_on

CPU, META = torch.device('cpu'), torch.device('meta')


def zeros(size, device):
    return torch.zeros(size, device=device)


def test_a_key_is_made_once_per_device():
    cache = DeviceCache(zeros)
    assert cache(3, CPU) is cache(3, CPU)
    assert cache(3, META).device == META
    assert cache(4, CPU).shape == (4, )


def test_only_the_last_few_are_kept():
    cache = DeviceCache(zeros)
    first, second = cache(0, CPU), cache(1, CPU)
    for size in range(2, KEPT + 1):
        cache(size, CPU)
    assert cache(1, CPU) is second
    assert cache(0, CPU) is not first


def test_copies_and_pickles_are_empty_and_work():
    module = nn.Module()
    module.cache = DeviceCache(zeros)
    made = module.cache(3, CPU)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert other.cache(3, CPU) is not made
        assert other.cache(3, CPU).equal(made)
    assert not module.state_dict()


def test_what_inference_mode_made_can_take_part_in_training():
    cache = DeviceCache(zeros)
    with torch.inference_mode():
        cache(1, CPU)
    weight = torch.ones(1, requires_grad=True)
    (weight * cache(1, CPU)).sum().backward()
    assert weight.grad.tolist() == [0]


def test_numbers_are_filled_in_order():
    assert numbers_on(CPU, [3, 1, 2], torch.int64).tolist() == [3, 1, 2]
