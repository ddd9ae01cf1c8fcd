"""Estimate the energy, layer by layer."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DefaultScope
from rich.progress import track

from mmspike.analysis.energy_meter import E_AC, E_MAC, Energy, EnergyMeter, check_costs, use_rates
from mmspike.analysis.energy_report import read_rates, show, write_report
from mmspike.commands.common import test_batches
from mmspike.commands.media import find_images, make_folder
from mmspike.compat import make_torchvision_importable
from mmspike.config import config_parser, load_config
from mmspike.deploy import reparameterize
from mmspike.errors import UserError
from mmspike.hosts import library_of
from mmspike.hosts.batches import build_model, noise_batch
from mmspike.hosts.inferencers import HostModel, use_device


def energy(argv: Sequence[str] | None = None) -> Energy:
    """Estimate the energy of a model, as a command line says.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        What was counted.

    Raises:
        UserError: If the command, the config, the checkpoint, an image or a table of rates is not
            usable, or the model does not spike.
    """
    args = _parser().parse_args(argv)
    check_costs(args.e_mac, args.e_ac)
    make_torchvision_importable()
    rates = read_rates(args.rates) if args.rates else None
    if args.num_images < 1:
        raise UserError(f'--num-images is {args.num_images}, but at least 1 image is needed.')
    counted = measure(args)
    if rates is not None:
        use_rates(counted, rates)
    out_dir = Path(args.out_dir or Path('work_dirs', Path(args.config).stem, 'energy'))
    make_folder(out_dir)
    write_report(counted, out_dir)
    show(counted)
    if not args.checkpoint and rates is None:
        print('no checkpoint was given: these are the rates of an untrained network')
    print(f"energy.csv, energy.md, energy.json and energy.png are in '{out_dir}'")
    return counted


def _parser() -> ArgumentParser:
    parser = config_parser('Estimate the energy of a spiking model, layer by layer')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file; without it, as built')
    parser.add_argument('--images', help="an image or a folder; default: the config's test images")
    parser.add_argument('--num-images', type=int, default=8, help='how many to run (default: 8)')
    parser.add_argument('--size', type=int, help='run noise, a square of this many pixels, instead')
    parser.add_argument('--rates', help='CSV of firing rates to use instead of the measured ones')
    parser.add_argument('--e-mac', type=float, default=E_MAC, help='pJ of a MAC (default: 4.6)')
    parser.add_argument('--e-ac', type=float, default=E_AC, help='pJ of an addition (default: 0.9)')
    parser.add_argument('--out-dir', help='folder to write to')
    parser.add_argument('--device', help='cpu, cuda:0, ...; by default a GPU if there is one')
    return parser


def measure(args: Namespace) -> Energy:
    """Run the images that the arguments name, and count.

    Args:
        args: Those of the command.
    """
    config = load_config(args.config, args.cfg_options)
    library = library_of(config)
    if args.rates and not args.images and args.size is None:
        args.size = library.usual_size  # If there is none, the config's own images run.
    if args.images:
        paths = find_images(args.images)[: args.num_images]
        args.num_images = len(paths)
        host = HostModel(config, args.checkpoint, args.device)
        host.merge('spike')
        meter = EnergyMeter(host.model)
        return _run(meter, lambda path: host.predict(host.read(path)), paths, args)
    model: Any = build_model(config, library, args.checkpoint, use_device(args.device))
    model = reparameterize(model, 'spike')
    meter = EnergyMeter(model)  # Refuses what does not spike before any data is looked for.
    with DefaultScope.overwrite_default_scope(library.name):
        batches: Iterable = test_batches(config, model)
        if args.size is not None:
            batches = [noise_batch(config, library, args.size)]
        return _run(meter, model.test_step, islice(batches, args.num_images), args)


def _run(meter: EnergyMeter, run: Callable, inputs: Iterable, args: Namespace) -> Energy:
    total = args.num_images if args.size is None else 1
    with torch.no_grad(), meter:
        for item in track(inputs, 'Energy', total=total):
            run(item)
    return meter.energy(args.e_mac, args.e_ac)
