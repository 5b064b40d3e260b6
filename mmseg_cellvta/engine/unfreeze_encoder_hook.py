# Copyright (c) CellVTA-MMSeg contributors.
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseAveragedModel, is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class UnfreezeEncoderHook(Hook):
    """Trains a frozen encoder from some epoch on, as CellViT does (arXiv:2306.15350).

    The optimizer knows all weights from the start and leaves alone those without a
    gradient, so nothing changes there. From that epoch on checkpoints hold the encoder.
    A run that is resumed later trains it at once. DistributedDataParallel watches only
    what is trainable when it is made, so it is made anew, and `find_unused_parameters`
    can stay False. An `EMAHook` averages the encoder too from then on.

    Args:
        epoch: Number of epochs with a frozen encoder.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def before_train(self, runner: Runner) -> None:
        """Refuses a training without epochs, or without an encoder.

        Raises:
            ValueError: When the schedule counts iterations, or the backbone has no
                encoder.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not hasattr(model.backbone, 'encoder'):
            raise ValueError(
                f'UnfreezeEncoderHook: {type(model.backbone).__name__} has no encoder '
                'to release; remove the hook')
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                f'UnfreezeEncoderHook(epoch={self.epoch}) counts epochs, but train_cfg '
                'counts iterations; use an EpochBasedTrainLoop')

    def before_train_epoch(self, runner: Runner) -> None:
        """Releases the encoder before its first epoch of training."""
        wrapped = is_model_wrapper(runner.model)
        model = runner.model.module if wrapped else runner.model
        encoder = model.backbone.encoder
        if runner.epoch < self.epoch or not encoder.frozen:
            return
        encoder.unfreeze()
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                _unfreeze_average(hook.ema_model)
        if wrapped:
            runner.model = runner.wrap_model(
                runner.cfg.get('model_wrapper_cfg'), model)
        runner.logger.info(f'epoch {runner.epoch + 1}: the encoder is trained too')


def _unfreeze_average(average: BaseAveragedModel) -> None:
    """Lets the encoder of an averaged model follow the one that is trained."""
    average.module.backbone.encoder.unfreeze()
    average.module.requires_grad_(False)
    if average.update_buffers:  # then it names once, when it is made, what it averages
        average.avg_parameters = average.module.state_dict()
