"""Write a trained model for hardware and other runtimes: for chips, as ONNX, as NIR."""

import errno
import shutil
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DefaultScope

from mmspike.analysis import FiringRateRecorder
from mmspike.commands.common import test_batches
from mmspike.compat import make_torchvision_importable
from mmspike.config import config_parser, load_config
from mmspike.deploy.onnx_export import export_onnx
from mmspike.errors import UserError
from mmspike.hosts import library_of
from mmspike.hosts.batches import build_model, noise_batch
from mmspike.hosts.inferencers import use_device

FORMATS: dict[str, Any] = {'onnx': export_onnx}  # A name, to what writes it: (model, inputs, folder) -> lines to say.


def export(argv: Sequence[str] | None = None) -> Path:
    """Write a model as a command line says.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        The folder.

    Raises:
        UserError: If the command, the config, the checkpoint or the pictures are not usable, the
            model does not spike, the format cannot say what the model does, or the folder cannot
            be written.
    """
    args = _parser().parse_args(argv)
    if args.num_images < 1:
        raise UserError(f'--num-images is {args.num_images}, but at least 1 image is needed.')
    make_torchvision_importable()
    config = load_config(args.config, args.cfg_options)
    library = library_of(config)
    model: Any = build_model(config, library, args.checkpoint, use_device('cpu'))
    FiringRateRecorder(model)  # Refuses what does not spike.
    with new_folder(Path(args.out)) as folder, DefaultScope.overwrite_default_scope(library.name):
        if args.size:
            batches: Any = [noise_batch(config, library, args.size, args.num_images)]
        else:
            batches = islice(test_batches(config, model), args.num_images)
        inputs = [model.data_preprocessor(batch)['inputs'] for batch in batches]
        with torch.no_grad():
            lines = FORMATS[args.format](model, torch.cat(inputs), folder)
    print(*lines, f"All of it is in '{args.out}'", sep='\n')
    return Path(args.out)


def _parser() -> ArgumentParser:
    parser = config_parser('Write a trained spiking model for a chip or another runtime')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--format', choices=FORMATS, required=True, help='what to write')
    parser.add_argument('--out', required=True, help='folder to make')
    parser.add_argument(
        '--num-images', type=int, default=1, help='how many test images to run (default: 1)'
    )
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('H', 'W'), help='run noise of this size instead'
    )
    return parser


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Make a folder that has its name only once all is in it.

    Args:
        out: The folder; what is there already is not touched.

    Yields:
        Where to write.

    Raises:
        UserError: If it is there already, or cannot be written.
    """
    if out.exists():
        raise UserError(f"'{out}' is there already, and nothing is overwritten; name another.")
    partial = out.with_name(f'.{out.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(out)
    except OSError as error:
        full = ': the disk is full' if error.errno == errno.ENOSPC else ''
        raise UserError(
            f"'{out}' cannot be written ({error.strerror}){full}; name a folder elsewhere."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
