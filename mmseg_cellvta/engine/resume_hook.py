# Copyright (c) CellVTA-MMSeg contributors.
import copy
from collections.abc import Iterator
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict, _ParamScheduler
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..utils.checkpoints import read_meta
from ..utils.plain_loading import CheckpointError

# What changes while a schedule goes on, and what param groups say too.
NO_SETTINGS = {'last_step', '_global_step', '_last_value', 'verbose', 'best',
               'num_bad_epochs', 'cooldown_counter', 'base_values', 'params'}
BATCH_SIZE_KEY = 'batch_size'  # in a checkpoint's meta
MAX_NAMED = 4  # settings in a message


@HOOKS.register_module()
class ResumeHook(Hook):
    """Refuses to resume a training with settings that come too late.

    MMEngine takes optimizer and schedules from the checkpoint with their settings, so
    that those of the config are without effect: with a larger `max_iters` the added
    steps would be trained with the end of the old schedule, a learning rate of almost
    0. A schedule that does not depend on its end, such as `ExponentialLR`, goes on.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Keeps the settings of the config, before a checkpoint overrides them."""
        self.schedules = [
            dict(_settings(scheduler.state_dict()), type=type(scheduler).__name__)
            for scheduler in _schedulers(runner)]
        self.groups = [_settings(group) for group in _param_groups(runner)]
        self.checkpoint = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keeps what the checkpoint says of schedules and of the training's length."""
        self.checkpoint = {
            key: checkpoint.get(key) for key in ('meta', 'param_schedulers')}
        hub = checkpoint.get('message_hub') or {}
        self.checkpoint['runtime_info'] = hub.get('runtime_info') or {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds the number of images of an optimizer step to the checkpoint's meta."""
        checkpoint['meta'][BATCH_SIZE_KEY] = _batch_size(runner)

    def before_train(self, runner: Runner) -> None:
        """Compares the settings of the config with those of the resumed training.

        Raises:
            CheckpointError: When the checkpoint has others.
        """
        if not runner.iter:  # weights alone were loaded, or nothing
            return
        self._check_length(runner)
        changes = [*self._changed_schedules(), *self._changed_optimizer(runner)]
        if changes:
            more = ', ...' if len(changes) > MAX_NAMED else ''
            raise CheckpointError(
                'a training is resumed with optimizer and schedule of its checkpoint, '
                f'but the config has others: {", ".join(changes[:MAX_NAMED])}{more}; '
                'keep them as they were, or start a new training from the weights, '
                'with load_from and without --resume')
        self._move_ends(runner)
        before, now = (read_meta(self.checkpoint).get(BATCH_SIZE_KEY),
                       _batch_size(runner))
        if before not in (None, now):
            runner.logger.warning(
                f'a training of {before} images per step is resumed with {now}; its '
                'learning rate stays as it was')

    def _check_length(self, runner: Runner) -> None:
        """Refuses a longer training whose schedule ends where the old one did.

        Raises:
            CheckpointError: When there is such a schedule.
        """
        for scheduler, wanted in zip(
                _schedulers(runner), self.schedules, strict=True):
            name = 'max_epochs' if scheduler.by_epoch else 'max_iters'
            old, new = self.checkpoint['runtime_info'].get(name), getattr(runner, name)
            if old is not None and new > old == _last_step(wanted):
                raise CheckpointError(
                    f'a training of {name}={old} is resumed with {new}, but its '
                    f'{type(scheduler).__name__} ends at {old}, and the added steps '
                    f'would get its last {scheduler.param_name}; keep {name}={old}, or '
                    'start a new training from the weights, with load_from and without '
                    '--resume')

    def _move_ends(self, runner: Runner) -> None:
        """Lets schedules that do not depend on their end go on to the new one."""
        for scheduler, wanted in zip(
                _schedulers(runner), self.schedules, strict=True):
            state = scheduler.state_dict()
            if state['end'] == wanted['end']:
                continue
            runner.logger.info(
                f'{wanted["type"]} goes on to step {wanted["end"]} instead of '
                f'{state["end"]}')
            scheduler.end = wanted['end']
            if state['_global_step'] >= state['end']:
                # The step at its old end was left out.
                scheduler.load_state_dict(
                    dict(_global_step=state['_global_step'] - 1))
                scheduler.step()

    def _changed_schedules(self) -> Iterator[str]:
        saved = self.checkpoint.get('param_schedulers')
        if not isinstance(saved, list):
            return
        if len(saved) != len(self.schedules):
            yield f'{len(self.schedules)} schedules instead of {len(saved)}'
        for wanted, state in zip(self.schedules, saved, strict=False):
            # The Runner sets `end`; if nothing else follows from it, it may change.
            yield from _differences(
                wanted['type'], wanted, dict(_settings(state), type=wanted['type'],
                                             end=wanted['end']))

    def _changed_optimizer(self, runner: Runner) -> Iterator[str]:
        scheduled = {scheduler.param_name for scheduler in _schedulers(runner)}
        if 'momentum' in scheduled:
            scheduled.add('betas')  # Adam's name for it
        found = set()
        for wanted, group in zip(self.groups, _param_groups(runner), strict=False):
            wanted, present = (
                {key: value for key, value in settings.items() if key not in scheduled}
                for settings in (wanted, _settings(group)))
            found.update(_differences('optimizer', wanted, present))
        yield from sorted(found)


def _schedulers(runner: Runner) -> list[_ParamScheduler]:
    """Returns the schedules of a runner that trains one optimizer; else none."""
    schedulers = runner.param_schedulers
    return [scheduler for scheduler in schedulers or []
            if isinstance(scheduler, _ParamScheduler)]


def _param_groups(runner: Runner) -> list[dict]:
    wrapper = runner.optim_wrapper
    one = isinstance(wrapper, OptimWrapper) and not isinstance(
        wrapper, OptimWrapperDict)
    return wrapper.param_groups if one else []


def _settings(state: dict) -> dict[str, Any]:
    """Returns what stays the same in the state of a schedule or of a param group."""
    return {
        key: list(value) if isinstance(value, tuple) else copy.deepcopy(value)
        for key, value in state.items()
        if key not in NO_SETTINGS and value is not None and not callable(value)}


def _differences(name: str, wanted: dict, saved: dict) -> Iterator[str]:
    """Yields what differs, as `name.key=value instead of value`."""
    keys = wanted.keys() | saved.keys()
    for key in sorted(keys, key=lambda key: (key.startswith('_'), key)):
        ours, theirs = wanted.get(key), saved.get(key)
        # Other versions of torch know more or fewer switches.
        switch = None in (ours, theirs) and bool in (type(ours), type(theirs))
        if ours == theirs or switch:
            continue
        yield f'{name}.{key.strip("_")}' + (
            '' if isinstance(ours, list | dict) else f'={ours} instead of {theirs}')


def _last_step(schedule: dict) -> int:
    """Returns the step at which a schedule has come to its end."""
    steps = schedule.get('total_steps', schedule.get('T_max'))
    return schedule['end'] if steps is None else schedule['begin'] + steps


def _batch_size(runner: Runner) -> int | None:
    size = getattr(runner.train_dataloader, 'batch_size', None)
    return None if size is None else size * get_world_size()
