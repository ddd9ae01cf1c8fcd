"""Train a model."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

from mmspike.checkpoint import (
    check_resumable,
    is_local,
    latest_checkpoint,
    load_checkpoint_file,
    plain_data_only,
    require_start,
)
from mmspike.checks.classes import (
    check_same_classes,
    checkpoint_classes,
)
from mmspike.checks.misspelt import name_misspellings
from mmspike.checks.settings import check_runner_options
from mmspike.checks.weights import (
    check_fits,
    check_pretrained,
    check_start,
    check_teacher,
    pretrained_files,
    start_without_pretrained,
)
from mmspike.commands.common import check_dataset, common_parser, prepare
from mmspike.commands.console_log import build_runner, quiet_console
from mmspike.commands.run_report import RunReport
from mmspike.config import check_variable
from mmspike.errors import UserError
from mmspike.hosts import library_of
from mmspike.process import add_hook

# Those of mmspike's own configs, for any other.
USUAL_GAIN = 0.1  # What mmengine's EarlyStoppingHook wants by default.
HOOKS = 'mmspike.CheckFiniteLossHook', 'mmspike.CheckScheduleHook', 'mmspike.RepeatableRunHook'


def train(argv: Sequence[str] | None = None) -> Runner:
    """Train as a command line says.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        The runner, with the trained model.

    Raises:
        UserError: If the command, the config, the data or a checkpoint is not usable.
    """
    args = _train_parser().parse_args(argv)
    with quiet_console(args.verbose):
        config = prepare(args, ('train', 'val'))
        with name_misspellings(config):
            return _train(args, config)


def _train(args: Namespace, config: Config) -> Runner:
    _set_train_options(config, args)
    pretrained = [str(path) for path in pretrained_files(config.model)]
    for path in pretrained:
        load_checkpoint_file(path)
    path, resume = config.get('load_from'), config.get('resume')
    if not resume and path and is_local(path):
        require_start(path, args.config)
    checkpoint = load_checkpoint_file(path) if path and is_local(path) else None
    if checkpoint and resume:
        check_resumable(checkpoint, path)
    adjusted = suit_early_stopping(config)
    runner = build_runner(config, args.verbose)
    if adjusted:
        runner.logger.warning(adjusted)
    report = RunReport(runner, 'Training', pretrained=', '.join(pretrained), weights=path)
    check_teacher(runner.model)
    if path:
        start_without_pretrained(runner.model, f"all weights come from '{path}'")
    else:
        check_variable(config)
    if checkpoint is None:
        check_pretrained(runner.model)
    # Only a resumed run must fit: weights for a new one may come from other classes.
    elif resume:
        check_fits(runner.model, checkpoint, path)
    elif warning := check_start(runner.model, checkpoint, path):
        runner.logger.warning(warning)
    learnt = check_dataset(runner, 'train', report)
    report.length()
    if checkpoint and resume:
        known = checkpoint_classes(checkpoint)
        check_same_classes(known, f"checkpoint '{path}'", learnt, 'train_dataloader')
    if config.get('val_dataloader') is not None:
        scored = check_dataset(runner, 'val', report)
        check_same_classes(learnt, 'train_dataloader', scored, 'val_dataloader')
    with plain_data_only(path):
        runner.train()
    report.done()
    return runner


def _train_parser() -> ArgumentParser:
    parser = common_parser('Train a model')
    parser.add_argument('--amp', action='store_true', help='mixed precision (needs a GPU)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without a path, from the latest in the work dir',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size over all processes',
    )
    return parser


def _set_train_options(config: Config, args: Namespace) -> None:
    check_runner_options(config)
    if args.amp:
        _use_amp(config)
    if args.auto_scale_lr:
        if not config.get('auto_scale_lr', {}).get('base_batch_size'):
            raise UserError(
                '--auto-scale-lr needs auto_scale_lr.base_batch_size, but the config '
                'has none; add it or leave the option out.'
            )
        config.auto_scale_lr.enable = True
    if args.resume not in (None, 'auto'):
        config.resume, config.load_from = True, args.resume
    elif args.resume or config.get('resume') and config.get('load_from') is None:
        # Before its first checkpoint a run that resumes starts as it would without.
        latest = latest_checkpoint(config.work_dir)
        config.resume = latest is not None
        config.load_from = latest or config.get('load_from')
    for hook in HOOKS:
        add_hook(config, hook)
    # Copies, put back: a ConfigDict's setdefault hands out what it does not store.
    default_hooks = dict(config.get('default_hooks') or {})
    saving = default_hooks.get('checkpoint', {'type': 'CheckpointHook'})
    if saving and saving.get('type', 'CheckpointHook') == 'CheckpointHook':
        default_hooks['checkpoint'] = {**saving, 'type': 'mmspike.WholeCheckpointHook'}
        config.default_hooks = default_hooks


def suit_early_stopping(config: Config) -> str | None:
    """Let early stopping want as small a gain of metrics to 1 as of metrics to 100.

    Args:
        config: The config to complete, where its EarlyStoppingHook has no ``min_delta``.

    Returns:
        What was done, for the log; None if nothing.
    """
    for hook in config.get('custom_hooks') or []:
        if 'EarlyStoppingHook' not in str(hook.get('type')) or 'min_delta' in hook:
            continue
        gain = USUAL_GAIN * library_of(config).full_score / 100
        if gain != USUAL_GAIN:
            hook['min_delta'] = gain
            return (
                f"EarlyStoppingHook has no min_delta, and mmengine's of {USUAL_GAIN} is made for "
                f'metrics to 100: it is {gain:g} here.'
            )
    return None


def _use_amp(config: Config) -> None:
    wrapper = config.optim_wrapper
    if get_device() == 'cpu':
        raise UserError('--amp needs a GPU, and this machine shows none; leave --amp out.')
    if wrapper.get('type', 'OptimWrapper') not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise UserError(
            f'--amp works with optim_wrapper.type OptimWrapper, but the config says '
            f'{wrapper.type}; leave --amp out or change it there.'
        )
    wrapper.type = 'AmpOptimWrapper'
    wrapper.setdefault('loss_scale', 'dynamic')
