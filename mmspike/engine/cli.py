"""What tools/train.py and tools/test.py do, for mmdet, mmseg and mmpretrain configs alike."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

from mmspike.checkpoint import (
    allow_mmengine_types,
    check_resumable,
    demand_start,
    is_local,
    latest_checkpoint,
    load_checkpoint_file,
    plain_data_only,
)
from mmspike.compat import make_torchvision_importable
from mmspike.deploy import FORMS
from mmspike.errors import UserError
from mmspike.process import use_cpu_well

from .building import name_misspellings
from .checks import build_dataset, check_classes, check_data, check_detector, inner_datasets
from .classes import (
    check_same_classes,
    checkpoint_classes,
    classes_of,
    compare_category_ids,
)
from .compiling import compile_in_long_runs
from .config import check_variable, config_parser, load_config
from .console_log import build_runner, quiet_console
from .distributed import add_hook, leave_group, use_launcher
from .evaluation import (
    deploy,
    dump_predictions,
    leave_mean_out,
    name_output,
    show_predictions,
    use_mixed_precision,
    use_tta,
)
from .evaluators import check_evaluators
from .loaded_pictures import draw_loaded
from .options import check_runner_options
from .pictures import draw_as_loaded
from .run_report import RunReport
from .values import check_values
from .weights import (
    check_fits,
    check_pretrained,
    check_start,
    check_teacher,
    pretrained_files,
    start_without_pretrained,
)

FINITE_LOSS_HOOK = 'mmspike.CheckFiniteLossHook'
WEIGHTS_HOOK = 'mmspike.CheckWeightsHook'
SCHEDULE_HOOK = 'mmspike.CheckScheduleHook'
REPEATABLE_RUN_HOOK = 'mmspike.RepeatableRunHook'


def run_tool(main: Callable[[], object]) -> None:
    """Run a command; print a UserError as one sentence and end with exit code 1.

    Args:
        main: The command without arguments.
    """
    try:
        main()
        leave_group()
    except UserError as error:
        sys.exit(f'Error: {error.sentence}')


@name_misspellings()
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
        return _train(args)


def _train(args: Namespace) -> Runner:
    config = _prepare(args, ('train', 'val'))
    _set_train_options(config, args)
    pretrained = [str(path) for path in pretrained_files(config.model)]
    for path in pretrained:
        load_checkpoint_file(path)
    path, resume = config.get('load_from'), config.get('resume')
    if not resume and path and is_local(path):
        demand_start(path, args.config)
    checkpoint = load_checkpoint_file(path) if path and is_local(path) else None
    if checkpoint and resume:
        check_resumable(checkpoint, path)
    runner = build_runner(config, args.verbose)
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
    learnt = _check_dataset(runner, 'train', report)
    report.length()
    if checkpoint and resume:
        known = checkpoint_classes(checkpoint)
        check_same_classes(known, f"checkpoint '{path}'", learnt, 'train_dataloader')
    if config.get('val_dataloader') is not None:
        scored = _check_dataset(runner, 'val', report)
        check_same_classes(learnt, 'train_dataloader', scored, 'val_dataloader')
        compare_category_ids(runner.train_dataloader.dataset, runner.val_dataloader.dataset)
    compile_in_long_runs(runner.model, runner.train_loop.max_iters)
    with plain_data_only(path):
        runner.train()
    report.done()
    return runner


@name_misspellings()
def test(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Test as a command line says.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        The metrics.

    Raises:
        UserError: If the command, the config, the data or the checkpoint is not usable.
    """
    args = _test_parser().parse_args(argv)
    with quiet_console(args.verbose):
        return _test(args)


def _test(args: Namespace) -> dict[str, float]:
    config = _prepare(args, ('test',))
    config.load_from, config.resume = args.checkpoint, False
    checkpoint = load_checkpoint_file(args.checkpoint) if is_local(args.checkpoint) else None
    if args.show or args.show_dir:
        show_predictions(config, args)
    leave_mean_out(config)
    if args.tta:
        use_tta(config)
    if args.amp:
        use_mixed_precision(config)
    if args.out:
        name_output(config, args.out)
    runner = build_runner(config, args.verbose)
    if args.show or args.show_dir:
        draw_as_loaded(runner.visualizer)
    places = dict(weights=args.checkpoint, predictions=args.out, pictures=args.show_dir)
    report = RunReport(runner, 'Testing', **places)
    if checkpoint:
        check_fits(runner.model, checkpoint, args.checkpoint)
    scored = _check_dataset(runner, 'test', report)
    if checkpoint:
        learnt = checkpoint_classes(checkpoint)
        named = f"checkpoint '{args.checkpoint}'"
        check_same_classes(learnt, named, scored, 'test_dataloader')
    if args.deploy:
        with plain_data_only(args.checkpoint):
            deploy(runner, args.deploy)
    if args.out:
        dump_predictions(runner, args.out)
    compile_in_long_runs(runner.model, len(runner.test_dataloader))
    with plain_data_only(args.checkpoint):
        metrics = runner.test()
    report.done()
    return metrics


def _common_parser(description: str) -> ArgumentParser:
    parser = config_parser(description)
    parser.add_argument('--work-dir', help='folder for logs, checkpoints and metrics')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how several processes were started',
    )
    parser.add_argument(
        '-v', '--verbose', action='store_true', help='show on the console all that the log gets'
    )
    # torch.distributed.launch passes this to every process.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser


def _train_parser() -> ArgumentParser:
    parser = _common_parser('Train a model')
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


def _test_parser() -> ArgumentParser:
    parser = _common_parser('Test and evaluate a model')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument(
        '--out', help='dump predictions: a .pkl file for mmdet and mmpretrain, a folder for mmseg'
    )
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='folder for images with drawn predictions')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds per shown image')
    parser.add_argument(
        '--deploy',
        choices=FORMS,
        help='test the merged model: spike as a chip runs it, fast as a CPU or GPU does',
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision: bfloat16 on a CPU, float16 on a GPU'
    )
    return parser


def _prepare(args: Namespace, splits: Sequence[str]) -> Config:
    """Load the config, apply what both tools share, and check the data's files."""
    make_torchvision_importable()  # mmengine and mmpretrain import it.
    if get_device() == 'cpu':
        use_cpu_well()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = load_config(args.config, args.cfg_options)
    if args.work_dir is not None:
        config.work_dir = args.work_dir
    elif config.get('work_dir') is None:
        config.work_dir = os.path.join('work_dirs', Path(args.config).stem)
    check_values(config, splits)
    for split in splits:
        loader = config.get(f'{split}_dataloader')
        # torch would refuse a process that lives on where there is none.
        if loader and loader.get('num_workers') == 0 and loader.get('persistent_workers'):
            loader.persistent_workers = False
    check_data(config, splits)
    add_hook(config, WEIGHTS_HOOK)
    # The stock loader of older mmengine has no list of its own for torch's plain-data mode.
    allow_mmengine_types()
    use_launcher(config, args.launcher)
    return config


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
    add_hook(config, FINITE_LOSS_HOOK)
    add_hook(config, SCHEDULE_HOOK)
    # Copies, put back: a ConfigDict's setdefault hands out what it does not store.
    default_hooks = dict(config.get('default_hooks') or {})
    saving = default_hooks.get('checkpoint', {'type': 'CheckpointHook'})
    if saving and saving.get('type', 'CheckpointHook') == 'CheckpointHook':
        default_hooks['checkpoint'] = {**saving, 'type': 'mmspike.WholeCheckpointHook'}
        config.default_hooks = default_hooks
    if (config.get('randomness') or {}).get('seed') is not None:
        add_hook(config, REPEATABLE_RUN_HOOK)
        # Processes that live on would carry their random numbers over to the next epoch.
        if 'max_epochs' in config.train_cfg:
            config.train_dataloader.persistent_workers = False


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


def _check_dataset(runner: Runner, split: str, report: RunReport) -> list[str]:
    """Check the dataset of a dataloader, and return its classes."""
    loader = f'{split}_dataloader'
    dataset = build_dataset(lambda: getattr(runner, loader), runner.cfg[loader], split)
    report.data(split, getattr(runner, loader))
    if split == 'train':
        report.pictures(draw_loaded(runner, split))
    check_classes(runner.model, dataset)
    check_detector(runner, split)
    if split != 'train':
        check_evaluators(runner, split, inner_datasets(dataset))
    return classes_of(dataset)
