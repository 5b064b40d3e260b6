# Copyright (c) CellVTA-MMSeg contributors.
"""Activation checkpointing that leaves the statistics of BatchNorm alone."""
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(function: Callable, *args) -> Any:
    """Calls a function, and again in the backward pass instead of keeping activations.

    Random numbers are drawn as in the first call, and running statistics are those
    after the first call.

    Args:
        function: A module, or a method of a module.
        *args: Its arguments.
    """
    module = getattr(function, '__self__', function)
    return checkpoint(
        function, *args, use_reentrant=False,
        context_fn=lambda: (nullcontext(), _kept_statistics(module)))


@contextmanager
def _kept_statistics(module: nn.Module) -> Iterator[None]:
    """Lets BatchNorm update copies of its running statistics."""
    # The layer must still have some: autograd counts the tensors that it keeps.
    kept = [(norm, dict(norm._buffers)) for norm in module.modules()
            if isinstance(norm, _BatchNorm) and norm.training]
    for norm, buffers in kept:
        norm._buffers.update(
            {key: value.clone() for key, value in buffers.items() if value is not None})
    try:
        yield
    finally:
        for norm, buffers in kept:
            norm._buffers.update(buffers)
