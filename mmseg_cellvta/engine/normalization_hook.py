# Copyright (c) CellVTA-MMSeg contributors.
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from ..utils.checkpoints import KEY, check_normalization, read_normalization


@HOOKS.register_module()
class NormalizationHook(Hook):
    """Keeps a checkpoint together with the normalisation that it was trained with.

    Mean and std of the data preprocessor are written into the checkpoint's meta as
    `normalization`, RGB on the 0-255 scale. Pictures normalised otherwise would be
    segmented badly without any error, so such a checkpoint is refused.
    """

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Adds `normalization` to the checkpoint's meta."""
        own = read_normalization(runner.model)
        if own is not None:
            checkpoint['meta'][KEY] = own

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compares the checkpoint's normalisation, if it has one, with the model's.

        Raises:
            ValueError: They differ.
        """
        check_normalization(runner.model, checkpoint)
