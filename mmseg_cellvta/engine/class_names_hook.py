# Copyright (c) CellVTA-MMSeg contributors.
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import DATASETS, HOOKS

from ..evaluation import CellInstanceMetric
from ..utils.checkpoints import unwrap
from ..utils.dataset_meta import check_dataset_meta, read_dataset_meta
from ..utils.plain_loading import CheckpointError


@HOOKS.register_module()
class ClassNamesHook(Hook):
    """Refuses to score a checkpoint by other classes than those of its training.

    A model numbers its classes; their names come from the data set that is tested. In
    another order they would be those of other nuclei, without any error.
    """

    def __init__(self) -> None:
        self.meta = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keeps what the checkpoint says of its classes."""
        self.meta = read_dataset_meta(checkpoint)

    def before_test(self, runner: Runner) -> None:
        """Compares the checkpoint's classes, if it names any, with those of the test.

        Raises:
            CheckpointError: When they differ.
        """
        model = unwrap(runner.model)
        if self.meta is None or not hasattr(model, 'num_result_classes'):
            return
        meta = check_dataset_meta(
            self.meta, model.num_result_classes, 'the checkpoint')
        for metric in runner.test_loop.evaluator.metrics:
            if not isinstance(metric, CellInstanceMetric):
                continue
            tested = runner.test_loop.dataloader.dataset.metainfo
            if metric.class_maps:
                tested = DATASETS.get(metric.class_maps['pred_dataset']).METAINFO
            if list(tested['classes']) != list(meta['classes']):
                raise CheckpointError(
                    f'the checkpoint was trained with the classes '
                    f'{", ".join(meta["classes"])}, but is scored by '
                    f'{", ".join(tested["classes"])}; set metainfo.classes of the '
                    'tested data set to those of the training, or class_maps of '
                    'test_evaluator')
