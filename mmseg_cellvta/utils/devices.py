# Copyright (c) CellVTA-MMSeg contributors.
"""Devices of every kind that MMEngine knows: CUDA, MPS (Apple), NPU (Ascend), CPU."""
from types import ModuleType

import torch
from mmengine.device import get_device

# Kinds without float64, and kinds that sample bilinearly but have no gradient of it.
WITHOUT_FLOAT64 = ('mps', )
WITHOUT_GRID_SAMPLE_GRADIENT = ('mps', )


def device_module(device: str | torch.device) -> ModuleType:
    """Returns the part of torch that is about a kind of device, such as `torch.mps`."""
    return getattr(torch, str(device).partition(':')[0])


def device_names() -> list[str]:
    """Returns the devices of this machine, such as `cpu` and `cuda:0`.

    The accelerators are those of the kind that MMEngine would take.
    """
    kind = get_device()
    if kind == 'cpu':
        return ['cpu']
    count = 1 if kind == 'mps' else device_module(kind).device_count()
    return ['cpu', *(f'{kind}:{index}' for index in range(count))]


def check_device(device: str) -> None:
    """Refuses what is no device of this machine.

    Args:
        device: A name such as `cuda:0`; a kind alone stands for its current device.

    Raises:
        ValueError: Says what there is.
    """
    there = device_names()
    if device not in (get_device(), *there):
        raise ValueError(
            f'--device {device}: no such device; this machine has {", ".join(there)}')


def process_device(local_rank: int) -> str:
    """Returns the device of one of several processes on this machine."""
    accelerators = device_names()[1:]
    return accelerators[local_rank % len(accelerators)] if accelerators else 'cpu'


def synchronize(device: str | torch.device) -> None:
    """Waits until a device has computed everything that it was asked for."""
    device = torch.device(device)
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    elif device.type != 'cpu':
        device_module(device).synchronize()


def empty_cache(device: str | torch.device) -> None:
    """Gives back the memory that a device keeps for later."""
    device = torch.device(device)
    if device.type != 'cpu':
        device_module(device).empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Tells if a device has no memory left; Apple's says so in words only."""
    return isinstance(
        error, torch.cuda.OutOfMemoryError) or 'out of memory' in str(error)
