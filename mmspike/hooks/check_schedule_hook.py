"""Warn of what a config says of learning rates and their schedule, but what has no effect."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmspike.registry import HOOKS

SHOWN = 5  # Differences of a resumed run in a message.
# Of a scheduler, beside what begins with an underscore.
PROGRESS = ('last_step', 'verbose', 'best', 'num_bad_epochs', 'cooldown_counter')


@HOOKS.register_module()
class CheckScheduleHook(Hook):
    """Warn of settings of optimizer and schedule that change nothing.

    A resumed run takes them from the checkpoint, and the config's own are not used. A scheduler
    that counts epochs never steps in a loop over iterations. A schedule may be longer than the
    run. A key of ``paramwise_cfg.custom_keys``
    may be part of no parameter's name.
    """

    def before_run(self, runner: Runner) -> None:
        """Note what the config says, before a checkpoint replaces it.

        Args:
            runner: The runner, its optimizer and schedulers just built.
        """
        # A runner that tests leaves both as the config has them.
        trains = isinstance(runner.optim_wrapper, OptimWrapper)
        self._said = dict(_settings(runner)) if trains else {}

    def before_train(self, runner: Runner) -> None:
        """Compare, and warn.

        Args:
            runner: The runner about to train.
        """
        used = dict(_settings(runner))
        ignored = [
            f'{name} is {_show(value)} in the config and stays {_show(used[name])}'
            for name, value in self._said.items()
            if name in used and used[name] != value
        ]
        if ignored:
            more = f', and {len(ignored) - SHOWN} more' if len(ignored) > SHOWN else ''
            runner.logger.warning(
                'The resumed run keeps the optimizer settings and the learning rate schedule of '
                f'its checkpoint: {", ".join(ignored[:SHOWN])}{more}; to use those of the config, '
                'start a new run from the weights with --cfg-options load_from=FILE.'
            )
        for name, scheduler in _schedulers(runner):
            if scheduler.by_epoch and not isinstance(runner.train_loop, EpochBasedTrainLoop):
                runner.logger.warning(
                    f'{name} ({type(scheduler).__name__}) counts epochs, but the run has '
                    'iterations only, so that it never changes the learning rate; set '
                    'by_epoch=False there, and its begin, end and milestones in iterations.'
                )
            elif late := _out_of_reach(scheduler, runner):
                runner.logger.warning(
                    f'{name} ({type(scheduler).__name__}) has {late}, so that the learning rate '
                    'never comes there; set param_scheduler for the length of the run.'
                )
        keys = (runner.cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}
        for key in keys.get('custom_keys') or {}:
            if not any(key in name for name, _ in runner.model.named_parameters()):
                runner.logger.warning(
                    f"optim_wrapper.paramwise_cfg.custom_keys has '{key}', which is part of no "
                    "parameter's name and changes nothing; correct it."
                )


def _schedulers(runner: Runner) -> Iterator[tuple[str, Any]]:
    # Of several optimizers they come in a dict.
    schedulers: Any = runner.param_schedulers or []
    if not isinstance(schedulers, Mapping):
        schedulers = {'': schedulers}
    for name, group in schedulers.items():
        for i, scheduler in enumerate(group):
            yield f'param_scheduler.{f"{name}." if name else ""}{i}', scheduler


def _out_of_reach(scheduler: Any, runner: Runner) -> str:
    """Name what of a scheduler lies behind the end of the run; nothing if nothing does."""
    unit = 'epochs' if scheduler.by_epoch else 'iterations'
    length = runner.max_epochs if scheduler.by_epoch else runner.max_iters
    begin = getattr(scheduler, 'begin', 0)
    late = {'begin': begin} if begin >= length else {}
    for key in ('milestones', 'step_size'):  # What changes the rate of the step behind it.
        value = getattr(scheduler, key, None)
        values = [value] if isinstance(value, int) else sorted(value or ())
        if beyond := [v for v in values if begin + v >= length]:
            late[key] = ', '.join(map(str, beyond))
    if getattr(scheduler, 'factor', 0) != 1:  # A constant of 1 changes nothing wherever it ends.
        for key in ('T_max', 'total_iters', 'total_steps'):
            if begin + (getattr(scheduler, key, None) or 0) > length:
                late['end'] = scheduler.end
    told = ' and '.join(f'{key} {value}' for key, value in late.items())
    return told and f'{told} of a run of {length} {unit}'


def _settings(runner: Runner) -> Iterator[tuple[str, Any]]:
    for name, scheduler in _schedulers(runner):
        for key, value in scheduler.state_dict().items():
            if not key.startswith('_') and key not in PROGRESS and not key.startswith('base_'):
                yield f'{name}.{key}', value
    groups: Any = runner.optim_wrapper.param_groups
    for i, group in enumerate(groups if isinstance(groups, list) else []):
        for key, value in group.items():
            # What a scheduler changes has its first value beside it.
            if key != 'params' and f'initial_{key}' not in group:
                key = key.removeprefix('initial_')
                yield f'optim_wrapper.optimizer.{key} (parameter group {i})', value


def _show(value: object) -> str:
    # Milestones are kept as a Counter.
    return str(sorted(value) if isinstance(value, Mapping) else value)
