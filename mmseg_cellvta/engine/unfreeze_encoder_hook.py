# Copyright (c) CellVTA-MMSeg contributors.
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class UnfreezeEncoderHook(Hook):
    """Trains a frozen encoder from some epoch on, as CellViT does (arXiv:2306.15350).

    The optimizer knows all weights from the start and leaves alone those without a
    gradient, so nothing changes there. From then on checkpoints hold the encoder. A run
    that is resumed later trains it at once. `find_unused_parameters` can stay False:
    DistributedDataParallel watches only what is trainable when it is made, so it is
    made anew.

    Args:
        epoch: Epochs with a frozen encoder; the encoder is trained from the next one.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def before_train(self, runner: Runner) -> None:
        """Refuses a training without epochs.

        Raises:
            ValueError: The schedule counts iterations.
        """
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                f'UnfreezeEncoderHook(epoch={self.epoch}) counts epochs, but train_cfg '
                'counts iterations; use an EpochBasedTrainLoop')

    def before_train_epoch(self, runner: Runner) -> None:
        """Releases the encoder when its time has come."""
        wrapped = is_model_wrapper(runner.model)
        model = runner.model.module if wrapped else runner.model
        encoder = model.backbone.encoder
        if runner.epoch < self.epoch or not encoder.frozen:
            return
        encoder.unfreeze()
        if wrapped:
            runner.model = runner.wrap_model(
                runner.cfg.get('model_wrapper_cfg'), model)
        runner.logger.info(f'epoch {runner.epoch + 1}: the encoder is trained too')
