# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
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
