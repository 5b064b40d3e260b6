# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmseg.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Writes checkpoints that ``torch.load(weights_only=True)`` can read.

    MMEngine pickles its log history (``HistoryBuffer``) and numpy scalars into
    every training checkpoint. Since torch 2.6 such a file does not load without
    switching the protection off, so that MMEngine 0.10.7 cannot resume from its
    own files (open-mmlab/mmengine#1655). This hook saves the same content as
    tensors and plain Python values and restores the log history on loading.
    """

    # Last, so that whatever other hooks add to the checkpoint is converted too.
    priority = 'LOWEST'

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Replace objects by tensors and plain values; state dicts stay as they are.

        Args:
            runner (Runner): The runner that saves.
            checkpoint (dict): The checkpoint, modified in place.
        """
        for key, value in checkpoint.items():
            if not key.endswith('state_dict'):
                checkpoint[key] = _to_plain(value, key)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Make the log history again, so that resuming continues it.

        Args:
            runner (Runner): The runner that loads.
            checkpoint (dict): The checkpoint, modified in place.
        """
        scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
        for name, value in scalars.items():
            if isinstance(value, dict):
                scalars[name] = HistoryBuffer(
                    value['log_history'].cpu().numpy(),
                    value['count_history'].cpu().numpy(),
                    value['max_length'],
                )


def _to_plain(value: Any, where: str) -> Any:
    """Copy of ``value`` made of tensors, dicts, lists, tuples and plain scalars.

    Args:
        value (Any): An entry of a checkpoint.
        where (str): Its dotted place in the checkpoint, for error messages.

    Raises:
        TypeError: If the entry has a type that a protected load would refuse.
    """
    if value is None or isinstance(value, (torch.Tensor, bytes)):
        return value
    # Subclasses (numpy.float64, numpy.str_, enum members) are pickled as themselves.
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, HistoryBuffer):
        log_history, count_history = value.data
        return dict(
            log_history=torch.as_tensor(log_history).clone(),
            count_history=torch.as_tensor(count_history).clone(),
            max_length=int(value.max_length),
        )
    if isinstance(value, Mapping):
        # Functions, such as the annealing of OneCycleLR, come back from the config.
        return {
            _to_plain(key, where): _to_plain(item, f'{where}.{key}')
            for key, item in value.items()
            if not callable(item)
        }
    if isinstance(value, (list, tuple)):
        items = [_to_plain(item, f'{where}[{i}]') for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise TypeError(
        f'checkpoint entry {where} is a {type(value).__name__}, which '
        'torch.load(weights_only=True) refuses; store it as tensors, numbers, '
        'strings, lists or dicts'
    )
