# Copyright (c) CellVTA-MMSeg contributors.
import logging
import math
from numbers import Real

from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class UndefinedScoreHook(Hook):
    """Says when the score that chooses the best checkpoint is undefined (NaN).

    `CellInstanceMetric` gives NaN where the validation images hold no nucleus, or none
    of the class. MMEngine then saves no best checkpoint, without a word. Each score is
    named once.
    """

    def __init__(self) -> None:
        self.named = set()

    def after_val_epoch(self, runner: Runner,
                        metrics: dict[str, float] | None = None) -> None:
        """Looks at the scores that `save_best` names.

        Args:
            runner: The runner that validates.
            metrics: Scores by name.
        """
        metrics = metrics or {}
        for key in _chosen_by(runner, metrics) - self.named:
            value = metrics.get(key)
            if isinstance(value, Real) and math.isnan(value):
                self.named.add(key)
                print_log(
                    f'{key} is nan, because the validation images hold no annotated '
                    'nucleus that counts for it: save_best keeps no checkpoint by this '
                    'score; add images with such nuclei to the validation set, or name '
                    'another score in default_hooks.checkpoint.save_best', 'current',
                    logging.WARNING)


def _chosen_by(runner: Runner, metrics: dict[str, float]) -> set[str]:
    """Returns the names of the scores by which checkpoints are kept."""
    keys = {key for hook in runner.hooks if isinstance(hook, CheckpointHook)
            for key in (hook.save_best and hook.key_indicators or ())}
    if 'auto' in keys:  # the first score
        keys = keys - {'auto'} | {*list(metrics)[:1]}
    return keys
