# Copyright (c) CellVTA-MMSeg contributors.
"""Small tensors that every forward needs, without a copy from host to device in it.

A copy makes the host wait until the device has done all that it was asked for before.
"""
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from .stacks import is_compiling

KEPT = 8  # image sizes, such as those of validation beside those of training


class DeviceCache:
    """Makes what depends on nothing but a key and a device once, and keeps it.

    The last few are kept, and never in a state dict. Copies and pickles of the cache
    are empty: what it held can be made again, on the device of the copy.

    Args:
        make: Function of key and device.
    """

    def __init__(self, make: Callable[[Any, torch.device], Any]) -> None:
        self.make = make
        self._made = {}

    def __call__(self, key: Hashable, device: torch.device) -> Any:
        """Returns what `make` returns for `key` on `device`."""
        # A compiled graph makes its own: what changes in a cache compiles it again.
        if is_compiling():
            return self.make(key, device)
        made = self._made.get((key, device))
        if made is None:
            # Tensors of inference mode could not take part in training later.
            with torch.inference_mode(False):
                made = self.make(key, device)
            while len(self._made) >= KEPT:
                self._made.pop(next(iter(self._made)))
            self._made[key, device] = made
        return made

    def __reduce__(self) -> tuple:
        return type(self), (self.make, )


def numbers_on(device: torch.device, numbers: Sequence[float],
               dtype: torch.dtype) -> Tensor:
    """Returns a few numbers as a (len(numbers), ) tensor, filled on the device."""
    return torch.cat([
        torch.full((1, ), number, dtype=dtype, device=device) for number in numbers
    ])
