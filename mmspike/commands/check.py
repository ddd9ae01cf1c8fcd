"""Prove that every weight layer sees spikes only."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from rich.table import Table

from mmspike.analysis import FiringRateRecorder
from mmspike.analysis.energy_report import wide_console
from mmspike.analysis.spike_driven import Operand, OperandRecorder, randomize_norms
from mmspike.analysis.spike_kinds import ANALOG, INTEGERS, SILENT
from mmspike.compat import make_torchvision_importable
from mmspike.config import config_parser, load_config
from mmspike.deploy import reparameterize
from mmspike.errors import UserError
from mmspike.hosts import Library, library_of
from mmspike.hosts.batches import build_model, noise_batch
from mmspike.hosts.inferencers import use_device

NAMED = 3  # So many operations are named in a sentence; the table has all.


def check(argv: Sequence[str] | None = None) -> list[Operand]:
    """Prove that a model is spike-driven, as a command line says.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        What each operation saw.

    Raises:
        UserError: If the command, the config or the checkpoint is not usable, the model does not
            spike, or an operation saw what it must not, or zeros alone.
    """
    parser = config_parser('Show what every weight layer and matrix product of a model sees')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file; without it, made to fire')
    parser.add_argument('--size', type=int, default=128, help='pixels of the noise (default: 128)')
    parser.add_argument(
        '--deploy',
        choices=('spike', 'unroll'),
        default='spike',
        help='merged as a chip runs it, or integer neurons as binary sub-steps too',
    )
    parser.add_argument('--device', help='cpu, cuda:0, ...; by default a GPU if there is one')
    args = parser.parse_args(argv)
    make_torchvision_importable()
    config = load_config(args.config, args.cfg_options)
    library = library_of(config)
    detect_everything(config)
    model = build_model(config, library, args.checkpoint, use_device(args.device))
    if not args.checkpoint:
        randomize_norms(model)
    operands = record_operands(model, config, library, args.size, args.deploy)
    show(operands)
    print(
        check_operands(
            operands, is_integer_driven(config), averages_itself(config), bool(args.checkpoint)
        )
    )
    return operands


def detect_everything(config: Config) -> None:
    """Let a detector hand on boxes of any score, so that noise reaches its mask head too."""
    test_cfg = config.model.get('test_cfg') or {}
    for part in (test_cfg, test_cfg.get('rcnn') or {}):
        if 'score_thr' in part:
            part['score_thr'] = 0.0


def record_operands(
    model: Any, config: Config, library: Library, size: int, form: str = 'spike'
) -> list[Operand]:
    """Run a model in the form that a chip runs on noise, and look at every operation.

    Args:
        model: The model, in evaluation mode.
        config: Its config.
        library: Its library.
        size: Height and width of the noise in pixels.
        form: As of `mmspike.deploy.reparameterize`.

    Raises:
        UserError: If the model does not spike, an operation multiplies in an unknown way, or a
            weight layer was never run.
    """
    FiringRateRecorder(model)  # Refuses what does not spike.
    model = reparameterize(model, form)
    with DefaultScope.overwrite_default_scope(library.name):
        batch = noise_batch(config, library, size, count=2)
        with torch.no_grad(), OperandRecorder(model) as recorder:
            model.test_step(batch)
    operands = recorder.operands  # Refuses what it does not know.
    # An auxiliary head only trains.
    not_run = [name for name in recorder.not_run if not name.startswith('auxiliary_head.')]
    if not_run:
        raise UserError(
            f'{len(not_run)} weight layers were never run, so nothing is known of them: '
            f'{_named(not_run)}; try a larger --size or a trained checkpoint.'
        )
    return operands


def is_integer_driven(config: Config) -> bool:
    """Tell whether a config chooses the SEW shortcut, by which weights see counts of spikes."""
    backbone = config.model.backbone
    return 'sew' in (backbone.get('shortcut'), (backbone.get('variant') or {}).get('shortcut'))


def averages_itself(config: Config) -> bool:
    """Tell whether the backbone of a config averages over time, and heads see analog values."""
    return config.model.backbone.get('time_reduction') == 'mean'


def check_operands(
    operands: Sequence[Operand],
    integers_allowed: bool,
    averaged: bool = False,
    from_checkpoint: bool = False,
) -> str:
    """Say what was found, in a line.

    Args:
        operands: What each operation saw.
        integers_allowed: Whether counts of spikes are as declared.
        averaged: Whether what is behind the backbone lies behind the average over time.
        from_checkpoint: Whether the weights are those of a checkpoint.

    Returns:
        The line.

    Raises:
        UserError: If an operation saw what it must not, or zeros alone.
    """
    forbidden = {ANALOG} if integers_allowed else {ANALOG, INTEGERS}
    violations = [operand for operand in operands if operand.verdict in forbidden]
    silent = [operand.name for operand in operands if operand.verdict == SILENT]
    if violations:
        if silent:
            print(f'{len(silent)} operations saw zeros alone: {", ".join(silent)}')
        _refuse(violations, len(operands), averaged)
    if silent:
        way_out = (
            'omit the checkpoint: norms are then randomized so that the neurons fire'
            if from_checkpoint
            else 'try a larger --size or a trained checkpoint'
        )
        raise UserError(
            f'it is not proven that the model is spike-driven, since {len(silent)} of '
            f'{len(operands)} operations saw zeros alone: {_named(silent)}; {way_out}.'
        )
    if integers_allowed:
        return 'integer-driven: with the SEW shortcut weights see counts of spikes, not spikes'
    return f'spike-driven: all {len(operands)} operations but the first see spikes'


def _refuse(violations: Sequence[Operand], count: int, averaged: bool) -> None:
    """Name the violations among `count` operations and the way out."""
    behind = [o for o in violations if averaged and not o.name.startswith('backbone.')]
    others = [o for o in violations if o not in behind]
    if behind:
        sentence = (
            f'{len(behind)} of {count} operations lie behind the average over time '
            "(time_reduction='mean' of the backbone), as those of stock heads do, and see analog "
            f'values: {_named([o.name for o in behind])}; the heads of mmspike carry time to the '
            'end instead (docs/own_head.md).'
        )
        if not others:
            raise UserError(sentence)
        print(sentence)
    named = _named([f'{o.name} ({o.operation}: {o.kind})' for o in others])
    if all(o.kind == INTEGERS for o in others):
        raise UserError(
            f'{len(others)} of {count} operations see integers, counts of spikes: {named}; unroll '
            'them first (--deploy unroll): then they see 0 and 1.'
        )
    raise UserError(
        f'{len(others)} of {count} operations see something other than spikes: {named}; put a '
        'neuron before each (docs/own_head.md).'
    )


def _named(names: Sequence[str]) -> str:
    more = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
    return ', '.join(names[:NAMED]) + more


def show(operands: Sequence[Operand]) -> None:
    """Print a table of what each operation saw."""
    table = Table('operation', 'in', 'saw', 'mean of what it sees', title='What is multiplied')
    for operand in operands:
        saw = 'the image' if operand.is_first else operand.kind
        table.add_row(operand.operation, operand.name, saw, f'{operand.rate:.4f}')
    wide_console().print(table)
