# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
from mmengine.hooks import Hook
from mmseg.registry import HOOKS


@HOOKS.register_module()
class NormalizationHook(Hook):
    """Keeps a checkpoint together with the normalisation that it was trained with.

    Mean and std of the data preprocessor are written into the checkpoint's meta as
    `normalization`, RGB on the 0-255 scale. Pictures normalised otherwise would be
    segmented badly without any error, so such a checkpoint is refused.
    """

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Adds `normalization` to the checkpoint's meta."""
        own = _normalization(runner.model)
        if own is not None:
            checkpoint['meta']['normalization'] = own

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compares the checkpoint's normalisation, if it has one, with the model's.

        Raises:
            ValueError: They differ.
        """
        saved = checkpoint.get('meta', {}).get('normalization')
        own = _normalization(runner.model)
        if saved is None or own is not None and all(
                np.allclose(saved[key], own[key], atol=1e-3) for key in saved):
            return
        raise ValueError(
            f'the checkpoint was trained with pictures normalised by {saved}, but the '
            f'data preprocessor has {own}; set its mean and std to those of the '
            'training, or encoder.name to the encoder of the training')


def _normalization(model) -> dict[str, list[float]] | None:
    """Mean and std of the data preprocessor; None if it does not normalise."""
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
