"""Write a trained model for hardware and other runtimes: for chips, as ONNX, as NIR."""

import shutil
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DefaultScope
from torch import Tensor

from mmspike.analysis import FiringRateRecorder
from mmspike.commands.common import test_batches
from mmspike.commands.media import explain_unwritten
from mmspike.compat import make_torchvision_importable
from mmspike.config import config_parser, load_config
from mmspike.deploy.chip import export_chip
from mmspike.deploy.nir_export import export_nir
from mmspike.deploy.onnx_export import export_onnx
from mmspike.errors import UserError
from mmspike.hosts import library_of
from mmspike.hosts.batches import build_model, noise_batch
from mmspike.hosts.inferencers import use_device

# A name, to what writes it: (model, inputs, folder) -> lines to say.
FORMATS: dict[str, Any] = {'chip': export_chip, 'onnx': export_onnx, 'nir': export_nir}


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
    out = Path(args.out)
    check_new(out)  # Before images are loaded.
    with DefaultScope.overwrite_default_scope(library.name), torch.no_grad():
        if args.size:
            batches: Any = [noise_batch(config, library, args.size, args.num_images)]
        else:
            batches = test_batches(config, model)
        images = (model.data_preprocessor(batch)['inputs'] for batch in batches)
        inputs = take_of_one_size(images, args.num_images)
        with new_folder(out) as folder:
            lines = FORMATS[args.format](model, inputs, folder)
    print(*lines, f"All of it is in '{out}'", sep='\n')
    return out


def _parser() -> ArgumentParser:
    parser = config_parser('Write a trained spiking model for a chip or another runtime')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--format', choices=FORMATS, required=True, help='what to write')
    parser.add_argument('--out', required=True, help='folder to make')
    parser.add_argument(
        '--num-images',
        type=int,
        default=1,
        help='how many test images to run, all of the size of the first (default: 1)',
    )
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('H', 'W'), help='run noise of this size instead'
    )
    return parser


def take_of_one_size(images: Iterable[Tensor], count: int) -> Tensor:
    """Take the first images that are as large as the first of all.

    Args:
        images: Batches of images or sequences.
        count: How many images.

    Returns:
        They, in one batch.

    Raises:
        UserError: If there are fewer.
    """
    taken: list[Tensor] = []
    for batch in images:
        if not taken or batch.shape[1:] == taken[0].shape[1:]:
            taken.append(batch)
        if sum(map(len, taken)) >= count:
            return torch.cat(taken)[:count]
    found, size = sum(map(len, taken)), 'x'.join(map(str, taken[0].shape[-2:])) if taken else '?'
    raise UserError(
        f'--num-images is {count}, but the test set has {found} images of {size} pixels, the size '
        f'of its first; give --num-images {found} or fewer, or --size H W for noise.'
    )


def check_new(out: Path) -> None:
    """Demand that nothing is there.

    Args:
        out: A folder to make.

    Raises:
        UserError: If it is there.
    """
    if out.exists():
        raise UserError(f"'{out}' is there already, and nothing is overwritten; name another.")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Make a folder that has its name only once all is in it, and nothing if that fails.

    Args:
        out: The folder; what is there already is not touched.

    Yields:
        Where to write.

    Raises:
        UserError: If it is there already, or cannot be written.
    """
    check_new(out)
    partial = out.with_name(f'.{out.name}.partial')
    above = [parent for parent in partial.parents if not parent.exists()]
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(out)
    except (OSError, RuntimeError) as error:
        # torch's own writer says no more than that.
        torch_failed = 'PytorchStreamWriter' in str(error)
        if not isinstance(error, OSError) and not torch_failed:
            raise
        raise UserError(f'{explain_unwritten(out, error)}; name a folder elsewhere.') from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in above if not out.exists() else ():
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
