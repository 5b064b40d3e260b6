# Copyright (c) CellVTA-MMSeg contributors.
import logging
import math
from numbers import Real

from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class BestScoreHook(Hook):
    """Says when the score that chooses the best checkpoint is not there.

    `CellInstanceMetric` gives NaN where the validation images hold no nucleus, or none
    of the class. MMEngine then saves no best checkpoint, without a word, and ends the
    training where no score has the name that `save_best` says. With this hook it goes
    on, and each such score is named once.
    """

    def __init__(self) -> None:
        self.named = set()

    def before_train(self, runner: Runner) -> None:
        """Looks for a validation."""
        if runner.val_loop is None:
            for key in sorted(_chosen_by(runner, {})):
                self._say_once(key, 'is never computed, because the config has no '
                               'val_dataloader')

    def after_val_epoch(self, runner: Runner,
                        metrics: dict[str, float] | None = None) -> None:
        """Looks at the scores that `save_best` names.

        Args:
            runner: The runner that validates.
            metrics: Scores by name.
        """
        if not metrics:  # MMEngine says so
            return
        for key in sorted(_chosen_by(runner, metrics)):
            if key not in metrics:
                self._say_once(key, f'is none of the scores {", ".join(metrics)}')
                metrics[key] = math.nan  # never the best
            elif isinstance(metrics[key], Real) and math.isnan(metrics[key]):
                self._say_once(
                    key, 'is nan, because the validation images hold no annotated '
                    'nucleus that counts for it')

    def _say_once(self, key: str, reason: str) -> None:
        if key not in self.named:
            self.named.add(key)
            print_log(
                f'{key} {reason}: save_best keeps no checkpoint by this score; correct '
                'the validation set, or name another score in '
                'default_hooks.checkpoint.save_best', 'current', logging.WARNING)


def _chosen_by(runner: Runner, metrics: dict[str, float]) -> set[str]:
    """Returns the names of the scores by which checkpoints are kept."""
    keys = {key for hook in runner.hooks if isinstance(hook, CheckpointHook)
            for key in (hook.save_best and hook.key_indicators or ())}
    if 'auto' in keys:  # the first score
        keys = keys - {'auto'} | {*list(metrics)[:1]}
    return keys
