"""What tools/check_spike_driven.py does: prove of a model that its weights see spikes only."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from rich.table import Table

from mmspike.analysis import FiringRateRecorder
from mmspike.analysis.energy_report import wide_console
from mmspike.analysis.spike_driven import Operand, OperandRecorder, enliven
from mmspike.analysis.values import ANALOG, INTEGERS, SILENT
from mmspike.compat import make_torchvision_importable
from mmspike.deploy import reparameterize
from mmspike.engine.config import config_parser, load_config
from mmspike.errors import UserError

from .hosts import check_scope, use_device
from .models import build_model, noise_batch

NAMED = 3  # So many violations are named in the sentence; the table has all.


def check_spike_driven(argv: Sequence[str] | None = None) -> list[Operand]:
    """Prove that a model is spike-driven, as a command line says.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        What each operation saw.

    Raises:
        UserError: If the command, the config or the checkpoint is not usable, the model does not
            spike, or an operation saw what it must not.
    """
    parser = config_parser('Show what every weight layer and matrix product of a model sees')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file; without it, made to fire')
    parser.add_argument('--size', type=int, default=128, help='pixels of the noise (default: 128)')
    parser.add_argument('--device', help='cpu, cuda:0, ...; by default a GPU if there is one')
    args = parser.parse_args(argv)
    make_torchvision_importable()
    config = load_config(args.config, args.cfg_options)
    scope = check_scope(config)
    _detect_everything(config)
    model = build_model(config, scope, args.checkpoint, use_device(args.device))
    if not args.checkpoint:
        enliven(model)
    operands = look(model, config, scope, args.size)
    show(operands)
    judge(operands, is_integer_driven(config))
    return operands


def _detect_everything(config: Config) -> None:
    """Let a detector hand on boxes of any score, so that noise reaches its mask head too."""
    test_cfg = config.model.get('test_cfg') or {}
    for part in (test_cfg, test_cfg.get('rcnn') or {}):
        if 'score_thr' in part:
            part['score_thr'] = 0.0


def look(model: Any, config: Config, scope: str, size: int) -> list[Operand]:
    """Run a model in the form that a chip runs on noise, and look at every operation.

    Args:
        model: The model, in evaluation mode.
        config: Its config.
        scope: Its library.
        size: Height and width of the noise in pixels.

    Raises:
        UserError: If the model does not spike, or a weight layer was never run.
    """
    FiringRateRecorder(model)  # Refuses what does not spike.
    model = reparameterize(model, 'spike')
    with DefaultScope.overwrite_default_scope(scope):
        batch = noise_batch(config, scope, size, count=2)
        with torch.no_grad(), OperandRecorder(model) as recorder:
            model.test_step(batch)
    # An auxiliary head only trains.
    not_run = [name for name in recorder.not_run if not name.startswith('auxiliary_head.')]
    if not_run:
        raise UserError(
            f'{len(not_run)} weight layers were never run, so nothing is known of them: '
            f'{", ".join(not_run[:NAMED])}; try a larger --size or a trained checkpoint.'
        )
    return recorder.operands


def is_integer_driven(config: Config) -> bool:
    """Tell whether a config chooses the SEW shortcut, by which weights see counts of spikes."""
    return (config.model.backbone.get('variant') or {}).get('shortcut') == 'sew'


def judge(operands: Sequence[Operand], integers_allowed: bool) -> None:
    """Say what was found, in a line or two.

    Args:
        operands: What each operation saw.
        integers_allowed: Whether counts of spikes are as declared.

    Raises:
        UserError: If an operation saw what it must not.
    """
    forbidden = {ANALOG} if integers_allowed else {ANALOG, INTEGERS}
    violations = [operand for operand in operands if operand.verdict in forbidden]
    silent = [operand.name for operand in operands if operand.verdict == SILENT]
    if silent:
        print(
            f'{len(silent)} operations saw zeros alone, which proves nothing: {", ".join(silent)}'
        )
    if violations:
        named = ', '.join(f'{o.name} ({o.operation}: {o.kind})' for o in violations[:NAMED])
        more = f' and {len(violations) - NAMED} more' if len(violations) > NAMED else ''
        raise UserError(
            f'{len(violations)} of {len(operands)} operations see something else than spikes: '
            f'{named}{more}; put a neuron before each, or average over time before them.'
        )
    if integers_allowed:
        print('integer-driven: with the SEW shortcut weights see counts of spikes, not spikes')
    else:
        print(f'spike-driven: all {len(operands)} operations but the first see spikes')


def show(operands: Sequence[Operand]) -> None:
    """Print a table of what each operation saw."""
    table = Table('operation', 'in', 'saw', 'mean', title='What is multiplied')
    for operand in operands:
        saw = 'the image' if operand.is_first else operand.kind
        table.add_row(operand.operation, operand.name, saw, f'{operand.rate:.4f}')
    wide_console().print(table)
