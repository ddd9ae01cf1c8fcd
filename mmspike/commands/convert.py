"""Convert a released ImageNet checkpoint."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import torch

from mmspike.checkpoint import load_checkpoint_file
from mmspike.errors import UserError
from mmspike.models.released import find_released


def convert_checkpoint(source: str | Path, target: str | Path) -> None:
    """Write a released checkpoint in the names of our classifiers.

    Args:
        source: A released file, whose weights stand under ``model``.
        target: Where to write; the weights stand under ``state_dict``.

    Raises:
        UserError: If `source` is no released checkpoint, or would execute code.
    """
    released = load_checkpoint_file(source)
    if not isinstance(released.get('model'), dict):
        raise UserError(
            f"'{source}' has no weights under 'model', where released checkpoints have them "
            f'(found: {", ".join(map(str, released)) or "nothing"}).'
        )
    names = find_released(released['model'])
    if names is None:
        raise UserError(
            f"'{source}' is not a released checkpoint of a backbone of mmspike: it has parameters "
            f'such as {next(iter(released["model"]), "none")}; is it another checkpoint, or one '
            'that was converted already?'
        )
    state_dict = names.convert_state_dict(released['model'])
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    torch.save({'state_dict': state_dict, 'meta': {}}, target)


def convert(argv: Sequence[str] | None = None) -> None:
    """Convert a released checkpoint as a command line says.

    Args:
        argv: The arguments; those of the process by default.

    Raises:
        UserError: As of `convert_checkpoint`.
    """
    parser = ArgumentParser(
        description='Convert a released ImageNet checkpoint of Meta-SpikeFormer or E-SpikeFormer, '
        'to test it with a config; to finetune, pretrained=FILE takes it as it is'
    )
    parser.add_argument('source', help='released checkpoint')
    parser.add_argument('target', help='file to write')
    args = parser.parse_args(argv)
    convert_checkpoint(args.source, args.target)
    print(f'Wrote {args.target}; finetune from it with --cfg-options pretrained={args.target}')
