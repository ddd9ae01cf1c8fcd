"""Write one page about a trained model: what it is, finds and costs, and where it fires."""

import hashlib
import math
import os
import platform
import statistics
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmspike.analysis import FiringRateRecorder
from mmspike.analysis.backbone import LayerNames
from mmspike.analysis.energy_meter import EnergyMeter
from mmspike.analysis.energy_report import collect_figures
from mmspike.analysis.spike_pictures import enlarge_maps, opacity, stage_maps
from mmspike.checkpoint import load_checkpoint_file, plain_data_only
from mmspike.checks.data import check_data
from mmspike.checks.misspelt import name_misspellings
from mmspike.commands.benchmark import take_turns
from mmspike.commands.check import (
    averages_itself,
    check_operands,
    detect_everything,
    is_integer_driven,
    record_operands,
)
from mmspike.commands.common import common_parser, prepare, test_batches
from mmspike.commands.console_log import quiet_console
from mmspike.commands.doctor import PACKAGES, installed
from mmspike.commands.inferencer import TASKS
from mmspike.commands.pictures import draw_predictions, read_as_loaded
from mmspike.commands.report_page import as_picture, check_out, read_pictures, write_page
from mmspike.commands.spikes import record_maps
from mmspike.commands.test import prepare_test
from mmspike.compat import make_torchvision_importable
from mmspike.config import load_config
from mmspike.deploy import reparameterize
from mmspike.errors import UserError
from mmspike.hosts import library_of
from mmspike.hosts.batches import build_model, noise_batch
from mmspike.hosts.inferencers import use_device
from mmspike.hosts.library import sequence_loader
from mmspike.version import __version__

NOISE = 128  # Pixels of a side where no picture is at hand, and of the proof.
REPEATS = 5
# What the command test has besides, left at its defaults.
TEST_OPTIONS = dict(out=None, show=False, show_dir=None, deploy=None, tta=False, amp=False)


def report(argv: Sequence[str] | None = None) -> dict:
    """Write the page, and its figures as JSON beside it, as a command line says.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        The figures.

    Raises:
        UserError: If the command, the config, the checkpoint or the data are not usable, the model
            does not spike, or the page cannot be written.
    """
    args = _parser().parse_args(argv)
    if args.num_images < 1:
        raise UserError(f'--num-images is {args.num_images}, but at least 1 image is needed.')
    out = check_out(args.out or Path('work_dirs', Path(args.config).stem, 'report.html'))
    make_torchvision_importable()
    config = load_config(args.config, args.cfg_options)
    library_of(config)
    name, absent = Path(args.config).name, _find_absent(config)
    if absent:
        print(f'without the test set the page has noise for pictures, and no metrics: {absent}')
    with quiet_console(args.verbose):
        test, predictions = (dict(missing=absent), []) if absent else _test(args)
        figures, pictures = collect(config, args.checkpoint, name, args.num_images, bool(absent))
    figures['test'] = test
    pictures['predictions'] = predictions
    write_page(figures, pictures, out)
    print(f"the page is '{out}', and its figures are in '{out.with_suffix('.json')}'")
    return figures


def _find_absent(config: Config) -> str:
    """Say what keeps the test set from being used; nothing if it is there."""
    try:
        check_data(config, ['test'])
    except UserError as error:
        return error.sentence
    return ''


def _parser() -> ArgumentParser:
    parser = common_parser('Write one page about a trained model, for a browser')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', help='the page (default: work_dirs/CONFIG/report.html)')
    parser.add_argument(
        '--num-images',
        type=int,
        default=4,
        help='how many test images to draw, and to count energy on (default: 4)',
    )
    return parser


def _test(args: Namespace) -> tuple[dict, list[dict]]:
    """Test the model, and draw what it finds."""
    config = prepare(args, ('test',))
    library = library_of(config)
    if config.get('visualizer') is None:
        config.visualizer = dict(type=library.visualizer)
    with name_misspellings(config), plain_data_only(args.checkpoint):
        runner, run_report = prepare_test(Namespace(**{**vars(args), **TEST_OPTIONS}), config)
        classes = library.score_classes(runner)
        metrics = runner.test()
        run_report.done()
    if sequence_loader(config):
        pictures = []
    elif TASKS[library.name] == 'classification':
        pictures = _classified(runner, args.num_images)
    else:
        with tempfile.TemporaryDirectory() as folder:
            sheet = draw_predictions(runner, folder, args.num_images, columns=1, enlarge=None)
            pictures = read_pictures(sheet.parent, args.num_images)
    return describe_test(metrics, classes), pictures


@torch.no_grad()
def _classified(runner: Runner, count: int) -> list[dict]:
    """Show the first test pictures, with their classes and the predicted ones in the captions."""
    names = runner.test_dataloader.dataset.metainfo['classes']
    samples = [s for b in islice(runner.test_dataloader, count) for s in runner.model.test_step(b)]
    return [
        as_picture(
            read_as_loaded(sample.img_path, sample.ori_shape),
            f'{names[int(sample.gt_label)]}; found: {names[int(sample.pred_label)]}',
            least=192,
        )
        for sample in samples[:count]
    ]


def describe_test(metrics: dict, classes: dict[str, dict[str, float]]) -> dict:
    """Collect what a test gave; a score that is not defined becomes None.

    Args:
        metrics: What the runner returned.
        classes: What `mmspike.hosts.Library.score_classes` returned.
    """
    rows = [{'class': name, **_plain(scores)} for name, scores in classes.items()]
    return dict(metrics=_plain(metrics), classes=rows)


def _plain(scores: dict) -> dict[str, float | None]:
    # COCO's evaluation writes -1 where there is no object of a size.
    return {k: float(v) if math.isfinite(v) and v != -1 else None for k, v in scores.items()}


def collect(
    config: Config, checkpoint: Any, name: str, num_images: int, noise: bool = False
) -> tuple[dict, dict]:
    """Look at a trained model from all sides but a test.

    Args:
        config: Its config.
        checkpoint: Its checkpoint file.
        name: How to call the config.
        num_images: How many test images to count energy on.
        noise: Run noise in the place of test images.

    Returns:
        Figures for the page and its JSON, and pictures: ``heat_maps``.

    Raises:
        UserError: If one of them is not usable, or the model does not spike.
    """
    library, device = library_of(config), use_device(None)
    model: Any = build_model(config, library, checkpoint, device)
    neurons = FiringRateRecorder(model).neurons  # Refuses what does not spike.
    levels = max(getattr(neuron, 'levels', 1) for neuron in neurons.values())
    chip: Any = reparameterize(model, 'spike')
    heat_maps: list[dict] = []
    with DefaultScope.overwrite_default_scope(library.name), torch.no_grad():
        batches = [noise_batch(config, library, NOISE)]
        if not noise:
            batches = list(islice(test_batches(config, chip), num_images))
        with EnergyMeter(chip) as meter:
            for batch in batches:
                chip.test_step(deepcopy(batch))
        if not (noise or sequence_loader(config)):
            heat_maps = draw_maps(chip, lambda: chip.test_step(deepcopy(batches[0]))[0])
        fast: Any = reparameterize(model, 'fast')
        seconds = take_turns({'': lambda: fast.test_step(deepcopy(batches[0]))}, REPEATS, device)[
            ''
        ]
    figures = dict(
        about=_describe(config, checkpoint, name, model, levels, device),
        energy=dict(noise=noise, **collect_figures(meter.energy())),
        heat_maps=[{k: v for k, v in m.items() if k != 'uri'} for m in heat_maps],
        speed=dict(
            shape=list(batches[0]['inputs'][0].shape),
            seconds=seconds,
            median=statistics.median(seconds),
            threads=torch.get_num_threads(),
            device=device,
        ),
        proof=_prove(config, checkpoint, levels, device),
    )
    return figures, dict(heat_maps=[m['uri'] for m in heat_maps])


def draw_maps(model: Any, run: Callable[[], Any]) -> list[dict]:
    """Lay over a picture where each stage fires at each time step.

    Args:
        model: A spiking model.
        run: Runs it on one picture, and returns the data sample.

    Returns:
        For each stage and step: their names, the mean and the largest rate, and the picture.
    """
    recorder, picture, padded = record_maps(model, run)
    height, width = picture.shape[:2]
    grey = picture.mean(axis=2, keepdims=True)
    drawn = []
    for stage, rates in stage_maps(recorder, LayerNames(model)).items():
        shown = enlarge_maps(rates, padded)[:, :height, :width]
        top = float(shown.max())
        for step, rate in enumerate(shown):
            alpha = opacity(rate, top)[..., None]
            heat = 255 * colormaps['inferno'](rate / (top or 1))[..., :3]
            painted = (alpha * heat + (1 - alpha) * grey).astype(np.uint8)
            about = dict(stage=stage, step=step + 1, mean=float(rate.mean()), top=float(rate.max()))
            drawn.append({**about, 'uri': as_picture(painted, '', least=256)['uri']})
    return drawn


def _describe(
    config: Config, checkpoint: Any, name: str, model: Any, levels: int, device: str
) -> dict:
    meta, file = load_checkpoint_file(checkpoint).get('meta') or {}, Path(checkpoint)
    backbone = getattr(model, 'backbone', model)
    neuron = (config.model.backbone.get('neuron') or {}).get('type', 'mmspike.LIF')
    versions = {
        key: next(filter(None, map(installed, names)), None) for key, names in PACKAGES.items()
    }
    return dict(
        config=name,
        task=TASKS[library_of(config).name],
        model=type(model).__name__,
        backbone=type(backbone).__name__,
        neuron=neuron if isinstance(neuron, str) else neuron.__name__,
        time_steps=getattr(backbone, 'time_steps', 1),
        levels=levels,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        checkpoint=dict(
            name=file.name,
            bytes=file.stat().st_size,
            sha256=hashlib.sha256(file.read_bytes()).hexdigest()[:12],
            epoch=meta.get('epoch'),
            iteration=meta.get('iter'),
        ),
        versions={'mmspike': __version__, 'torch': torch.__version__, **versions},
        date=datetime.now().isoformat(' ', 'minutes'),
        machine=f'{_processor(device)}, {os.cpu_count()} cores, Python {platform.python_version()}',
    )


def _processor(device: str) -> str:
    if device.startswith('cuda'):
        return torch.cuda.get_device_name(device)
    cpus = Path('/proc/cpuinfo')
    lines = cpus.read_text().splitlines() if cpus.is_file() else []
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.machine())


def _prove(config: Config, checkpoint: Any, levels: int, device: str) -> dict:
    """Record what every operation sees; counts of integer neurons are unrolled first."""
    config, library = deepcopy(config), library_of(config)
    detect_everything(config)
    model = build_model(config, library, checkpoint, device)
    form, operands, proven = 'unroll' if levels > 1 else 'spike', [], True
    try:
        operands = record_operands(model, config, library, NOISE, form)
        sentence = check_operands(
            operands, is_integer_driven(config), averages_itself(config), from_checkpoint=True
        )
    except UserError as error:
        sentence, proven = error.sentence, False
    rows = [dict(vars(operand), verdict=operand.verdict) for operand in operands]
    return dict(form=form, pixels=NOISE, proven=proven, sentence=sentence, operations=rows)
