"""What the commands train and test share: their options, the config, and the checks of the data."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from logging import WARNING
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from mmspike.checkpoint import allow_mmengine_types
from mmspike.checks.classes import classes_of
from mmspike.checks.data import (
    FOLDERS_OF_CLASSES,
    build_dataset,
    check_classes,
    check_data,
    check_detector,
    dataset_configs,
    inner_datasets,
)
from mmspike.checks.evaluators import check_evaluators
from mmspike.checks.frames import check_frames
from mmspike.checks.labels import check_labels
from mmspike.checks.misspelt import name_misspellings
from mmspike.checks.settings import check_one_output, check_values
from mmspike.commands.loaded_pictures import draw_loaded
from mmspike.commands.run_report import RunReport
from mmspike.compat import make_torchvision_importable
from mmspike.config import config_parser, load_config
from mmspike.datasets.transforms import IMAGES
from mmspike.errors import UserError
from mmspike.hooks.follow_model_hook import follow_model
from mmspike.process import add_hook, leave_group, use_cpu_well, use_launcher

# Those of mmspike's own configs, for any other.
HOOKS = 'mmspike.CheckWeightsHook', 'mmspike.FollowModelHook', 'mmspike.CompileNeuronsHook'

# What of mmdet is exchanged for mmspike's, by the name of its class, and the modules it lies in.
CHECKED = dict(
    CocoDataset='mmdet.datasets.coco',
    XMLDataset='mmdet.datasets.xml_style',
    VOCDataset='mmdet.datasets.voc',
    CocoMetric='mmdet.evaluation.metrics.coco_metric',
)


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


def common_parser(description: str) -> ArgumentParser:
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


def prepare(args: Namespace, splits: Sequence[str]) -> Config:
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
    leave_out_topk(config)
    for split in splits:
        loader = config.get(f'{split}_dataloader')
        # torch would refuse a process that lives on where there is none.
        if loader and loader.get('num_workers') == 0 and loader.get('persistent_workers'):
            loader.persistent_workers = False
    check_data(config, splits)
    use_checked_datasets(config, splits)
    for hook in HOOKS:
        add_hook(config, hook)
    # The stock loader of older mmengine has no list of its own for torch's plain-data mode.
    allow_mmengine_types()
    use_launcher(config, args.launcher)
    return config


def use_checked_datasets(config: Config, splits: Sequence[str]) -> None:
    """Exchange datasets and metric of mmdet for mmspike's, which check and match annotations.

    Class folders of mmpretrain may hold pictures of all kinds that can be loaded.

    Args:
        config: The config to complete.
        splits: Which of ``train``, ``val`` and ``test`` will run.
    """
    for split in splits:
        loader = config.get(f'{split}_dataloader') or {}
        metrics = config.get(f'{split}_evaluator') or []
        metrics = [metrics] if isinstance(metrics, dict) else metrics
        for part in (*dataset_configs(loader.get('dataset')), *metrics):
            kind = part.get('type')
            if isinstance(kind, type):
                kind = f'{kind.__module__}.{kind.__name__}'
            for name, module in CHECKED.items():
                if kind in (name, f'mmdet.{name}', f'{module}.{name}'):
                    part['type'] = f'mmspike.{name}'
            if str(kind).removeprefix('mmpretrain.') in FOLDERS_OF_CLASSES:
                part['extensions'] = part.get('extensions') or IMAGES


def leave_out_topk(config: Config) -> None:
    """Leave the top-k accuracies out that fewer classes than k have not.

    Args:
        config: The config to change: its evaluators, and the head of its classifier.
    """
    head: dict = (config.get('model') or {}).get('head') or {}
    classes = head.get('num_classes')
    for key in ('val_evaluator', 'test_evaluator', 'model.head'):
        node = head if key == 'model.head' else config.get(key) or []
        for part in node if isinstance(node, list) else [node]:
            given = part.get('topk')
            if not isinstance(given, list | tuple) or not classes or max(given) <= classes:
                continue
            part['topk'] = tuple(k for k in given if k <= classes) or (1,)
            print_log(
                f'{key}.topk is {tuple(given)}, but there are {classes} classes: it is '
                f'{part["topk"]}.',
                'current',
                WARNING,
            )


def check_dataset(runner: Runner, split: str, report: RunReport) -> list[str]:
    """Check the dataset of a dataloader, and return its classes."""
    loader = f'{split}_dataloader'
    dataset = build_dataset(lambda: getattr(runner, loader), runner.cfg[loader], split)
    report.data(split, getattr(runner, loader))
    check_classes(runner.model, dataset)
    check_one_output(runner.model)
    check_labels(dataset, runner.model)
    check_detector(runner, split)
    follow_model(runner.model, dataset)
    if split == 'train':
        report.pictures(draw_loaded(runner, split))
    if split != 'train':
        check_evaluators(runner, split, inner_datasets(dataset))
        metrics = getattr(runner, f'{split}_loop').evaluator.metrics
        check_frames(inner_datasets(dataset), split, metrics)
    return classes_of(dataset)


def test_batches(config: Config, model: nn.Module) -> Iterator[dict]:
    """Load the images of a config's test dataloader one by one.

    Args:
        config: The config.
        model: Its model, which follows the dataset.

    Raises:
        UserError: If data, or what the config says of them, are not usable.
    """
    allow_mmengine_types()
    check_data(config, ['test'])
    use_checked_datasets(config, ['test'])
    settings = config.test_dataloader.copy()
    settings.update(batch_size=1, num_workers=0, persistent_workers=False)
    build = cache(lambda: Runner.build_dataloader(settings))
    with name_misspellings(config):
        dataset = build_dataset(build, settings)
    check_classes(model, dataset)
    follow_model(model, dataset)
    yield from build()
