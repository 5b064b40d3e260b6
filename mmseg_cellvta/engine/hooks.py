# Copyright (c) CellVTA-MMSeg contributors.
import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import HistoryBuffer, print_log
from mmengine.model import BaseAveragedModel, is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.visualization import Visualizer
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from ..datasets.transforms import LoadCellImage
from ..utils.checkpoints import (
    NORMALIZATION_KEY,
    check_normalization,
    read_normalization,
    unwrap,
)
from ..utils.plain_loading import CheckpointError

ENCODER = 'backbone.encoder.'  # of the names of its weights


@HOOKS.register_module()
class CellVisualizationHook(Hook):
    """Draws nuclei in validation and testing.

    Takes the place of `SegVisualizationHook` as `default_hooks.visualization`, which
    `tools/test.py --show` and `--show-dir` switch on. It also draws images that are
    part of an `images.npy`. Drawings go to `<save_dir>/vis_data/vis_image/`.

    Args:
        draw: Draw at all.
        interval: In validation the first sample of every `interval`-th batch is drawn,
            beginning with the first batch; in testing every sample is.
        show: Open a window instead of writing files.
        wait_time: Time that each window stays open, s; 0 waits for a key.
    """

    def __init__(self, draw: bool = False, interval: int = 50, show: bool = False,
                 wait_time: float = 0.0) -> None:
        self.draw = draw
        self.interval = interval
        self.show = show
        self.wait_time = wait_time

    def after_val_iter(self, runner: Runner, batch_idx: int,
                       data_batch: dict | None = None,
                       outputs: Sequence[SegDataSample] | None = None) -> None:
        """Draws the first sample of every `interval`-th batch."""
        if self.draw and batch_idx % self.interval == 0:
            self._draw(outputs[0], 'val', step=runner.iter)

    def after_test_iter(self, runner: Runner, batch_idx: int,
                        data_batch: dict | None = None,
                        outputs: Sequence[SegDataSample] | None = None) -> None:
        """Draws all samples."""
        if self.draw:
            for data_sample in outputs:
                self._draw(data_sample, 'test', step=0)

    def _draw(self, data_sample: SegDataSample, mode: str, step: int) -> None:
        loaded = LoadCellImage().transform({
            key: data_sample.get(key)
            for key in ('img_path', 'img_index', 'sample_name') if key in data_sample})
        Visualizer.get_current_instance().add_datasample(
            f'{mode}_{loaded["sample_name"]}',
            loaded['img'][..., ::-1],
            data_sample=data_sample,
            show=self.show,
            wait_time=self.wait_time,
            step=step)


@HOOKS.register_module()
class NormalizationHook(Hook):
    """Keeps a checkpoint together with the normalisation that it was trained with.

    Mean and std of the data preprocessor are written into the checkpoint's meta as
    `normalization`, RGB, 0-255. Images that are normalised otherwise would be segmented
    badly without any error, so such a checkpoint is refused.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds `normalization` to the checkpoint's meta."""
        own = read_normalization(runner.model)
        if own is not None:
            checkpoint['meta'][NORMALIZATION_KEY] = own

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compares the checkpoint's normalisation, if it has one, with the model's.

        Raises:
            ValueError: When they differ.
        """
        check_normalization(runner.model, checkpoint)


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


@HOOKS.register_module()
class SwitchToDeployHook(Hook):
    """Tests the model in its form for inference, as `CellSegmentor.switch_to_deploy`.

    `tools/test.py` adds it. A checkpoint must have all weights. It is loaded by then.
    With an `EMAHook`, which exchanges weights before and after the test, and for models
    that have no such form, nothing is folded.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuses a checkpoint without all weights, which MMEngine would only warn of.

        Raises:
            CheckpointError: When some are missing; they would stay random.
        """
        found = {key.removeprefix('module.')
                 for key in checkpoint.get('state_dict', ())}
        model = unwrap(runner.model)
        missing = sorted(
            key for key in model.state_dict().keys() - found
            if not key.startswith(ENCODER)
            and not key.endswith('num_batches_tracked'))
        encoder = getattr(getattr(model, 'backbone', None), 'encoder', None)
        if hasattr(encoder, 'vit') and f'{ENCODER}fingerprint' not in found:
            vit = {f'{ENCODER}vit.{key}' for key in encoder.vit.state_dict()}
            missing += sorted(vit - found)
        if missing:
            raise CheckpointError(
                f'{runner._load_from}: {len(missing)} weights of the config are not in '
                f'the checkpoint (first: {missing[0]}); give the config of its '
                'training')

    def before_test(self, runner: Runner) -> None:
        """Switches the model; what wraps it stays."""
        model = unwrap(runner.model)
        exchanged = any(isinstance(hook, EMAHook) for hook in runner.hooks)
        if hasattr(model, 'switch_to_deploy') and not exchanged:
            model.switch_to_deploy()
