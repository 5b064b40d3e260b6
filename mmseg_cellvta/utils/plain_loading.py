# Copyright (c) CellVTA-MMSeg contributors.
"""Reading checkpoints without running code that they may hold.

A pickled file says which functions to call. MMEngine reads a checkpoint again without
protection when the protected way fails, and one from the internet always so. Here
tensors and plain values are read, and what MMEngine adds to its training checkpoints
(log history, names of its methods, numpy's numbers) as data.
"""
import functools
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from safetensors import safe_open

# How torch names what `weights_only` refuses; the wording differs by version.
REFUSED_OBJECT = re.compile(r"(?:GLOBAL|Unsupported class|but got <class) '?([\w.]+)")
TORCH_VERSION = tuple(map(int, torch.__version__.split('.')[:2]))
METHOD = object()  # read in the place of a method that was saved by its name
_torch_load = torch.load


class CheckpointError(ValueError):
    """A checkpoint that is refused; the message is a sentence for users."""


@contextmanager
def plain_loading(trust: bool = False) -> Iterator[None]:
    """Lets `torch.load` read tensors and plain values only, whoever calls it.

    MMEngine, its downloads and timm all end there, on both package sets and whatever
    they ask for. Outside of the block nothing is changed.

    Args:
        trust: Read everything, which runs any code that a file holds.

    Raises:
        CheckpointError: In the block, when a file holds other objects or is damaged.
    """
    outside = torch.load
    torch.load = functools.partial(_load, trust)
    try:
        yield
    finally:
        torch.load = outside


def refused_object(error: Exception) -> str | None:
    """Returns what a protected `torch.load` refused; None if it failed otherwise."""
    refused = REFUSED_OBJECT.search(str(error))
    return None if refused is None else refused[1]


def _load(trust: bool, file: Any, *args, **kwargs) -> Any:
    try:
        if str(file).endswith('.safetensors'):
            return _load_safetensors(file)
        if trust:
            return _torch_load(file, *args, **dict(kwargs, weights_only=False))
        with _safe_objects():
            content = _torch_load(file, *args, **dict(kwargs, weights_only=True))
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises many unrelated types
        name = file if isinstance(file, (str, os.PathLike)) else 'checkpoint'
        raise CheckpointError(f'{name}: {_reason(error)}') from error
    if isinstance(content, dict):
        _drop_methods(content.get('param_schedulers'))
        if isinstance(content.get('meta'), dict):
            # A Python program, which MMEngine runs when it resumes, to count GPUs.
            content['meta'].pop('config', None)
    return content


def _load_safetensors(file: str | os.PathLike) -> dict:
    """Reads weights, which cannot hold objects, and the `meta` beside them."""
    with safe_open(file, 'pt') as tensors:
        weights = {name: tensors.get_tensor(name) for name in tensors.keys()}
        meta = json.loads((tensors.metadata() or {}).get('meta', '{}'))
    return dict(meta=meta, state_dict=weights)


@contextmanager
def _safe_objects() -> Iterator[None]:
    """Declares `STAND_INS` safe, in place of what others declare by the same names.

    The maintained MMEngine declares `getattr`. Through it a file reaches, and changes,
    what functions work with. PyTorch before 2.6 knows no names to declare: there,
    objects are refused, those of MMEngine too.
    """
    if TORCH_VERSION < (2, 6):
        yield
        return
    outside = torch.serialization.get_safe_globals()
    names = {name for _, name in STAND_INS}
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(
        STAND_INS + [item for item in outside if _name(item) not in names])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(outside)


def _name(item: Any) -> str:
    """Returns the name that something declared safe has in files."""
    return item[1] if isinstance(item, tuple) else (
        f'{item.__module__}.{item.__qualname__}')


def _reason(error: Exception) -> str:
    held = refused_object(error)
    if held is None:
        return (f'not a readable checkpoint ({type(error).__name__}): damaged, or it '
                'holds more than tensors and plain values in the form of torch.save, '
                'which only --trust reads, in Python trust=True')
    return (f'holds {held} besides tensors and plain values, and reading that may run '
            'any code; if you trust where the file comes from, add --trust, in Python '
            'trust=True')


def _drop_methods(state: Any) -> None:
    """Removes what stands for methods; a new scheduler has them already."""
    if isinstance(state, dict):
        for key in [key for key, value in state.items() if value is METHOD]:
            del state[key]
    for item in state.values() if isinstance(state, dict) else (
            state if isinstance(state, list) else ()):
        _drop_methods(item)


class _SavedHistory(HistoryBuffer):
    """Becomes a log history that has the saved numbers, and nothing else of a file."""

    def __setstate__(self, state: dict) -> None:
        self.__init__(np.asarray(state['_log_history'], dtype=np.float64),
                      np.asarray(state['_count_history'], dtype=np.int64),
                      int(state['max_length']))
        self.__class__ = HistoryBuffer


class _SavedClass:
    """Stands for a class of which only a method is named."""


def _saved_method(owner: type, name: str) -> object:
    return METHOD


def _stand_ins() -> list:
    """Returns what is read for each name in a file, beside torch's own list."""
    named = {
        'mmengine.logging.history_buffer.HistoryBuffer': _SavedHistory,
        'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler': _SavedClass,
        'builtins.getattr': _saved_method,
        'numpy.ndarray': np.ndarray,
        'numpy.dtype': np.dtype,
    }
    numbers = map(np.dtype, (
        np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32,
        np.uint64, np.float16, np.float32, np.float64, np.str_))
    core = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):  # 1 and 2
        named |= {f'{module}.{function.__name__}': function for function in core}
    named |= {f'numpy.dtypes.{type(number).__name__}': type(number)
              for number in numbers}
    return [(stand_in, name) for name, stand_in in named.items()]


STAND_INS = _stand_ins()
