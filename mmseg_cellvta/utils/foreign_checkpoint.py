# Copyright (c) CellVTA-MMSeg contributors.
"""Reading checkpoint files that others have written."""
import re
from pathlib import Path

import torch
from torch import Tensor

# How torch names what a protected load refuses; the wording differs by version.
REFUSED = re.compile(r'(?:GLOBAL|Unsupported class) ([\w.]+)')


def load_foreign_weights(path: str | Path, trust: bool = False) -> dict[str, Tensor]:
    """Reads the weights of a checkpoint without running code that it may hold.

    Args:
        path: A file with a state dict, bare or as `model_state_dict` or `state_dict`.
        trust: Read objects too. A file made for it then runs any code.

    Returns:
        The weights by name.

    Raises:
        ValueError: The file is missing, holds objects, or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f'{path}: no such file')
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=not trust)
    except Exception as error:  # torch raises many unrelated types
        raise ValueError(f'{path}: {_reason(error)}') from error
    for name in ('model_state_dict', 'state_dict'):
        if isinstance(checkpoint, dict):
            checkpoint = checkpoint.get(name, checkpoint)
    if not isinstance(checkpoint, dict) or not checkpoint or not all(
            isinstance(value, Tensor) for value in checkpoint.values()):
        raise ValueError(f'{path}: expected named tensors, bare or as '
                         "'model_state_dict' or 'state_dict'")
    return checkpoint


def _reason(error: Exception) -> str:
    refused = REFUSED.search(str(error))
    if refused is None:
        return f'not a readable checkpoint ({type(error).__name__})'
    return (f'holds {refused[1]} besides tensors, and reading that may run any code; '
            'if you trust where the file comes from, give --trust')
