# Copyright (c) CellVTA-MMSeg contributors.
import inspect
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Writes checkpoints that `torch.load(weights_only=True)` can read.

    MMEngine pickles its log history (`HistoryBuffer`) and numpy scalars into every
    training checkpoint. Since torch 2.6 such a file does not load without switching the
    protection off, so that MMEngine 0.10.7 cannot resume from its own files
    (open-mmlab/mmengine#1655). This hook saves the same content as tensors and plain
    Python values and restores the log history on loading. An object that is neither,
    such as one that another hook keeps in `runner.message_hub`, is left out of the
    checkpoints, and a warning says so once.
    """

    # Last: what other hooks add to the checkpoint is converted too.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.left_out = set()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replaces objects by tensors and plain values; weights stay as they are.

        Args:
            runner: The runner that saves.
            checkpoint: The checkpoint, modified in place.
        """
        objects = {}
        others = {key: value for key, value in checkpoint.items()
                  if not _is_state_dict(value)}
        plain = _plain_entries(others, '', objects)
        for key in others:
            if key in plain:
                checkpoint[key] = plain[key]
            else:
                del checkpoint[key]
        for place, kind in objects.items():
            self._say_once(place, kind)

    def _say_once(self, place: str, kind: str) -> None:
        if place not in self.left_out:
            self.left_out.add(place)
            print_log(
                f'{place} is a {kind}, which torch.load(weights_only=True) refuses: '
                'checkpoints leave it out, and a resumed training begins without it; '
                'keep tensors, numbers, strings, lists or dicts instead', 'current',
                logging.WARNING)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Restores the log history, so that a resumed training continues it.

        Args:
            runner: The runner that loads.
            checkpoint: The checkpoint, modified in place.
        """
        scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
        for name, value in scalars.items():
            if isinstance(value, dict):
                scalars[name] = HistoryBuffer(
                    value['log_history'].cpu().numpy(),
                    value['count_history'].cpu().numpy(), value['max_length'])


class _NotPlainError(TypeError):
    """An object that `torch.load(weights_only=True)` refuses."""


def _is_state_dict(value: Any) -> bool:
    """Returns True for named tensors and nothing else."""
    return isinstance(value, dict) and bool(value) and all(
        isinstance(key, str) and isinstance(item, torch.Tensor)
        for key, item in value.items())


def _plain_entries(entries: Mapping, where: str, objects: dict[str, str]) -> dict:
    """Copies a mapping as plain values, without the entries that hold objects.

    Args:
        entries: A part of a checkpoint.
        where: Its dotted place in the checkpoint.
        objects: Receives the dotted place and the type of what is left out.
    """
    plain = {}
    for key, item in entries.items():
        place = f'{where}.{key}' if where else str(key)
        try:
            plain[_to_plain(key, place, objects)] = _to_plain(item, place, objects)
        except _NotPlainError as error:
            # Functions, such as the annealing of OneCycleLR, come back from the config.
            if not inspect.isroutine(item):
                objects[place] = str(error)
    return plain


def _to_plain(value: Any, where: str, objects: dict[str, str]) -> Any:
    """Copies `value` as tensors, dicts, lists, tuples and plain scalars.

    Args:
        value: An entry of a checkpoint.
        where: Its dotted place in the checkpoint.
        objects: See `_plain_entries`.

    Raises:
        _NotPlainError: When the entry is an object, or a list with one; it names the
            type.
    """
    if value is None or isinstance(value, (torch.Tensor, bytes)):
        return value
    # Subclasses (numpy.float64, numpy.str_, enum members) are pickled as themselves.
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, (np.generic, np.ndarray)):
        plain = value.tolist()
        if isinstance(plain, np.generic):  # Python has no such type, as longdouble
            raise _NotPlainError(type(value).__name__)
        return _to_plain(plain, where, objects)
    if isinstance(value, HistoryBuffer):
        log_history, count_history = value.data
        return dict(
            log_history=torch.as_tensor(log_history).clone(),
            count_history=torch.as_tensor(count_history).clone(),
            max_length=int(value.max_length))
    if isinstance(value, Mapping):
        return _plain_entries(value, where, objects)
    if isinstance(value, (list, tuple)):
        items = [_to_plain(item, f'{where}[{i}]', objects)
                 for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise _NotPlainError(type(value).__name__)
