"""Test a model: mAP, mIoU or accuracy."""

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from mmcv.cnn import is_norm
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmspike.checkpoint import (
    is_local,
    load_checkpoint_file,
    plain_data_only,
)
from mmspike.checks.classes import (
    check_same_classes,
    checkpoint_classes,
)
from mmspike.checks.misspelt import name_misspellings
from mmspike.checks.weights import (
    check_fits,
    is_wrapped,
)
from mmspike.commands.common import check_dataset, common_parser, prepare
from mmspike.commands.console_log import build_runner, quiet_console
from mmspike.commands.pictures import draw_as_loaded
from mmspike.commands.run_report import RunReport
from mmspike.deploy import FORMS, reparameterize
from mmspike.hosts import library_of


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
        config = prepare(args, ('test',))
        with name_misspellings(config):
            runner, report = prepare_test(args, config)
            with plain_data_only(args.checkpoint):
                metrics = runner.test()
            report.done()
            return metrics


def prepare_test(args: Namespace, config: Config) -> tuple[Runner, RunReport]:
    """Build the runner of a test, and check that checkpoint, data and config fit each other.

    Args:
        args: Those of the command.
        config: What `prepare` returned, completed here.

    Returns:
        The runner about to test, and what says on the console how the test goes.

    Raises:
        UserError: If they do not.
    """
    config.load_from, config.resume = args.checkpoint, False
    checkpoint = load_checkpoint_file(args.checkpoint) if is_local(args.checkpoint) else None
    library = library_of(config)
    if args.show or args.show_dir:
        library.show_predictions(config, args)
    leave_mean_out(config)
    if args.tta:
        library.use_tta(config)
    if args.amp:
        library.check_half('--amp', get_device())
        config.test_cfg.fp16 = True  # bfloat16 on a CPU.
    if args.out:
        library.name_output(config, args.out)
    runner = build_runner(config, args.verbose)
    places = dict(weights=args.checkpoint, predictions=args.out, pictures=args.show_dir)
    report = RunReport(runner, 'Testing', **places)
    if checkpoint:
        check_fits(runner.model, checkpoint, args.checkpoint)
    scored = check_dataset(runner, 'test', report)
    if args.show or args.show_dir:
        draw_as_loaded(runner.visualizer, runner.test_dataloader.dataset)
    if checkpoint:
        learnt = checkpoint_classes(checkpoint)
        named = f"checkpoint '{args.checkpoint}'"
        check_same_classes(learnt, named, scored, 'test_dataloader')
    if args.deploy:
        with plain_data_only(args.checkpoint):
            deploy(runner, args.deploy)
    if args.out:
        library.dump_predictions(runner, args.out)
    return runner, report


def _test_parser() -> ArgumentParser:
    parser = common_parser('Test and evaluate a model')
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
        help='test the merged model: spike as a chip runs it, int8 with weights of 8 bits, fast as '
        'a CPU or GPU does',
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision: bfloat16 on a CPU, float16 on a GPU'
    )
    return parser


def leave_mean_out(config: Config) -> None:
    """Take mmengine's EMAHook out of a config: what it saves as the weights is the mean already.

    Args:
        config: The config of a test.
    """
    hooks = config.get('custom_hooks') or []
    config.custom_hooks = [h for h in hooks if str(h.get('type')).split('.')[-1] != 'EMAHook']


def deploy(runner: Runner, form: str) -> None:
    """Load the weights, and put the model into the form in which it runs.

    Args:
        runner: The runner about to test.
        form: A form of `mmspike.deploy.reparameterize`.
    """
    runner.load_or_resume()
    holder, name, model = runner, 'model', runner.model
    while is_wrapped(model):
        holder, name, model = model, 'module', model.module
    merged = reparameterize(model.eval(), form)
    norms = [name for name, part in merged.named_modules() if is_norm(part)]
    if norms:
        print_log(
            f'--deploy {form} leaves {len(norms)} norms as they are, such as {norms[0]}: they '
            'share a convolution with others, as the levels of RetinaNet and RTMDet do, or depend '
            'on the input, so no weights can hold them.',
            logger='current',
            level=logging.WARNING,
        )
    setattr(holder, name, merged)
