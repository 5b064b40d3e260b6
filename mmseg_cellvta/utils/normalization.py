# Copyright (c) CellVTA-MMSeg contributors.
"""Which normalisation of pictures a checkpoint belongs to."""
import numpy as np
from torch import nn

KEY = 'normalization'  # in a checkpoint's meta


def read_normalization(model: nn.Module) -> dict[str, list[float]] | None:
    """Mean and std of the data preprocessor, RGB 0-255; None if it has none."""
    while hasattr(model, 'module'):  # of test-time augmentation, of several GPUs
        model = model.module
    if not hasattr(model.data_preprocessor, 'mean'):
        return None
    # Float32 of the buffers to the digits that a config has.
    return {
        key: [round(value, 4) for value in
              getattr(model.data_preprocessor, key).flatten().tolist()]
        for key in ('mean', 'std')
    }


def check_normalization(model: nn.Module, checkpoint: dict) -> None:
    """Compares the normalisation in a checkpoint's meta, if there is one, with a model.

    Raises:
        ValueError: They differ: pictures would be segmented badly without any error.
    """
    saved = checkpoint.get('meta', {}).get(KEY)
    own = read_normalization(model)
    if saved is None or own is not None and all(
            np.allclose(saved[key], own[key], atol=1e-3) for key in saved):
        return
    raise ValueError(
        f'the checkpoint was trained with pictures normalised by {saved}, but the data '
        f'preprocessor has {own}; set its mean and std to those of the training, or '
        'encoder.name to the encoder of the training')
