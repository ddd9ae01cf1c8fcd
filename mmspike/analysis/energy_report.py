"""Tables, files and a picture of what a model's layers cost, and firing rates read from a file."""

import csv
import json
from collections.abc import Sequence
from math import inf
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from rich.console import Console
from rich.table import Table

from mmspike.analysis.energy_meter import PARTS, Energy, LayerCost
from mmspike.analysis.spike_kinds import ANALOG, INTEGERS, SILENT
from mmspike.analysis.spike_pictures import new_figure, part_colors, save
from mmspike.errors import UserError

NAMES = ('stage', 'block', 'operator')


def describe(energy: Energy, cost: LayerCost) -> dict:
    """Collect the figures of one layer.

    Args:
        energy: What was counted.
        cost: One of its layers.

    Returns:
        Its names; ``values`` (what its weights saw, ``'silent'`` if 0 alone); ``rates`` at each
        time step and their ``average``, None for analog values; ``nonzero``, the share of what they
        saw that is not 0, None for analog values and given rates; ``flops`` of one image and time
        step, a multiply-accumulate being one as in the paper; ``operation`` (AC or MAC) and how
        many ``operations`` one image takes, and how many of them, ``unpadded``, do not fall on the
        zeros of padding, None with given rates; and ``energy``, in mJ.
    """
    stage, block, operator = cost.layer.key
    rates = cost.rates
    analog = cost.values == ANALOG
    operations = float((cost.macs if analog else cost.additions).sum()) / energy.images
    return dict(
        stage=stage,
        block=block,
        operator=operator,
        values=cost.values,
        rates=None if rates is None else rates.tolist(),
        average=None if rates is None else float(rates.mean()),
        nonzero=cost.nonzero,
        flops=float(cost.macs.mean()) / energy.images,
        operation='MAC' if analog else 'AC',
        operations=operations,
        unpadded=None
        if cost.unpadded is None
        else float(cost.unpadded[int(analog)]) / energy.images,
        energy=energy.millijoule(cost),
    )


def summarize(energy: Energy) -> dict:
    """Collect the totals of a model, all of one image.

    Args:
        energy: What was counted.

    Returns:
        ``parts``: additions, multiply-accumulates and mJ of backbone, neck and head, and the mJ of
        their ANN twin; ``total``, with a still image encoded once; ``total_every_step``, encoded at
        every time step as the paper counts; ``total_unpadded``, encoded once and without the zeros
        of padding, None with given rates; ``twin``; ``ratio``, twin to total, None if more than
        half of the layers never fired; ``silent_layers``, how many of the ``spiking_layers`` never
        fired; and a ``warning`` of it, or None.
    """
    parts = {}
    for part in PARTS:
        additions, macs = energy.operations(part)
        parts[part] = dict(
            additions=additions, macs=macs, energy=energy.total(part), twin=energy.twin(part)
        )
    total, twin = energy.total(), energy.twin()
    silent, spiking = _count_silent(energy)
    return dict(
        images=energy.images,
        time_steps=energy.time_steps,
        e_mac=energy.e_mac,
        e_ac=energy.e_ac,
        parts=parts,
        total=total,
        total_every_step=energy.total(every_step=True),
        total_unpadded=energy.total_unpadded(),
        twin=twin,
        ratio=twin / total if total and silent <= spiking / 2 else None,
        spiking_layers=spiking,
        silent_layers=silent,
        warning=_warn(silent, spiking) if silent else None,
    )


def _count_silent(energy: Energy) -> tuple[int, int]:
    """Count the layers that never fired, and all that see spikes."""
    spiking = [cost for cost in energy.costs if cost.rates is not None]
    return sum(cost.is_silent for cost in spiking), len(spiking)


def _warn(silent: int, spiking: int) -> str:
    """Say what the figures are worth."""
    meaning = (
        'these figures say nothing of a trained model'
        if silent > spiking / 2
        else 'they cost nothing here, and may be dead'
    )
    return f'{silent} of {spiking} spiking layers never fired: {meaning}'


def sentences(energy: Energy) -> list[str]:
    """Say the totals in words, a line each."""
    found = summarize(energy)
    lines = [found['warning']] if found['warning'] else []
    lines += [
        f'{part}: {of["energy"]:.3g} mJ ({of["additions"] / 1e6:.4g} M AC, '
        f'{of["macs"] / 1e6:.4g} M MAC); ANN twin {of["twin"]:.3g} mJ'
        for part, of in found['parts'].items()
        if of['twin']
    ]
    lines.append(f'total, a still image encoded once: {found["total"]:.4g} mJ')
    lines.append(
        f'total, encoded at every time step as the paper counts: {found["total_every_step"]:.4g} mJ'
    )
    if found['total_unpadded'] is not None:
        lines.append(
            f'total without the zeros of padding, encoded once: {found["total_unpadded"]:.4g} mJ'
        )
    ratio = f', {found["ratio"]:.3g} times as much' if found['ratio'] else ''
    lines.append(f'ANN twin, all multiplications, one step: {found["twin"]:.4g} mJ{ratio}')
    return lines


def _is_silent(row: dict) -> bool:
    return row['values'] == SILENT and row['average'] is not None


def _cells(row: dict) -> list[str]:
    """Format one layer for a table."""
    rates = ['-'] if row['rates'] is None else [f'{rate:.4f}' for rate in row['rates']]
    average = '-' if row['average'] is None else f'{row["average"]:.4f}'
    if _is_silent(row):
        rates, average = [SILENT], SILENT
    return [
        *(row[name] for name in NAMES),
        ' '.join(rates),
        average,
        '-' if row['nonzero'] is None else f'{row["nonzero"]:.4f}',
        f'{row["flops"] / 1e6:.4g}',
        f'{row["operations"] / 1e6:.4g} {row["operation"]}',
        '-' if row['unpadded'] is None else f'{row["unpadded"] / 1e6:.4g}',
        f'{row["energy"]:.4g}',
    ]


HEADINGS = (
    'stage',
    'block',
    'operator',
    'firing rate, t = 1 .. T',
    'average',
    'not 0',
    'MFLOPs a step',
    'M operations an image',
    'M without padding',
    'mJ an image',
)


def wide_console() -> Console:
    """Give a console as wide as the terminal, or wide enough for tables in a file."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def show(energy: Energy) -> None:
    """Print the table and the totals to the terminal."""
    console = wide_console()
    table = Table(*HEADINGS[:3], *HEADINGS[4:], title='Energy by layer')
    for column in table.columns[3:]:
        column.justify = 'right'
    for cost in energy.costs:
        cells = _cells(describe(energy, cost))
        table.add_row(*cells[:3], *cells[4:])
    console.print(table)
    for line in [*sentences(energy), *_others(energy)]:
        console.print(line, highlight=False)


def _others(energy: Energy) -> list[str]:
    """List what else is done on analog values, and the layers that never ran."""
    lines = []
    for kind in dict.fromkeys(kind for kind, _ in energy.analog):
        count = sum(n for (k, _), n in energy.analog.items() if k == kind) / energy.images
        lines.append(f'on analog values, without a weight: {count / 1e6:.4g} M {kind} an image')
    if energy.not_run:
        lines.append(f'never run: {", ".join(energy.not_run)}')
    return lines


def collect_figures(energy: Energy) -> dict:
    """Collect all figures: `summarize`, ``layers`` as of `describe`, ``analog`` and ``not_run``."""
    analog = [
        dict(operation=kind, module=name, number=count / energy.images)
        for (kind, name), count in energy.analog.items()
    ]
    rows = [describe(energy, cost) for cost in energy.costs]
    return dict(**summarize(energy), layers=rows, analog=analog, not_run=energy.not_run)


def write_report(energy: Energy, folder: Path) -> None:
    """Write ``energy.csv``, ``energy.md``, ``energy.json`` and ``energy.png``.

    Args:
        energy: What was counted.
        folder: Where to write, there already.
    """
    everything = collect_figures(energy)
    rows = everything['layers']
    (folder / 'energy.json').write_text(json.dumps(everything, indent=1))
    _write_csv(rows, energy.time_steps, folder / 'energy.csv')
    lines = ['# Energy', '', *(f'- {line}' for line in [*sentences(energy), *_others(energy)]), '']
    lines += [f'| {" | ".join(HEADINGS)} |', '| --- ' * len(HEADINGS) + '|']
    lines += [f'| {" | ".join(_cells(row))} |' for row in rows]
    (folder / 'energy.md').write_text('\n'.join(lines) + '\n')
    save(draw(rows), folder / 'energy.png')


def _write_csv(rows: Sequence[dict], time_steps: int, path: Path) -> None:
    figures = 'values', 'flops', 'operation', 'operations', 'unpadded', 'energy', 'nonzero'
    with open(path, 'w', newline='') as file:
        writer = csv.writer(file)
        steps = [f't{t + 1}' for t in range(time_steps)]
        writer.writerow([*NAMES, *steps, 'average', *figures])
        for row in rows:
            rates = (row['rates'] or []) + [''] * time_steps
            average = '' if row['average'] is None else row['average']
            names = [row[name] for name in NAMES]
            writer.writerow([*names, *rates[:time_steps], average, *(row[f] for f in figures)])


def read_rates(path: str | Path) -> dict[tuple[str, str, str], list[float]]:
    """Read firing rates from a CSV with the columns that `write_report` writes.

    Needed are ``stage``, ``block``, ``operator``, and either ``t1``, ``t2``, ... or ``average``;
    rows without a rate are passed over. Where ``values`` is ``'integers'``, a rate is a mean count.

    Args:
        path: The file.

    Returns:
        The rates of each layer, by its names.

    Raises:
        UserError: If the file cannot be read, or a rate is no number from 0 to 1.
    """
    try:
        with open(path, newline='', encoding='utf-8-sig') as file:
            rows = list(csv.DictReader(file))
        if missing := [name for name in NAMES if not rows or name not in rows[0]]:
            raise csv.Error(f'no column {missing[0]}')
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"Rates '{path}' cannot be read ({error}); give a CSV with the columns "
            f'{", ".join(NAMES)}, and t1, t2, ... or average.'
        ) from error
    rates = {}
    for number, row in enumerate(rows, 2):
        steps = [row[key] for key in row if key and key[0] == 't' and key[1:].isdigit()]
        texts = [text for text in steps if text] or [row.get('average') or '']
        if texts == ['']:
            continue
        most = inf if row.get('values') == INTEGERS else 1.0
        stage, block, operator = ((row[name] or '').strip() for name in NAMES)
        rates[stage, block, operator] = [_rate(text, path, number, most) for text in texts]
    return rates


def _rate(text: str, path: str | Path, number: int, most: float) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= most:
        raise UserError(
            f"Rates '{path}' have {text!r} in line {number}, but a firing rate is a number from 0 "
            'to 1; correct it.'
        )
    return rate


def draw(rows: Sequence[dict]) -> Figure:
    """Draw two bars for each layer: how often what it sees fires, and what it costs.

    Args:
        rows: What `describe` returned of each.

    Returns:
        A figure.
    """
    groups = [row['stage'].replace('Stage', 'stage') for row in rows]
    colors = part_colors(groups)
    paint = [colors[group] for group in groups]
    figure = new_figure(11, 0.19 * len(rows) + 1.6)
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(rows))
    rates = [row['average'] or 0.0 for row in rows]
    costs = [row['energy'] for row in rows]
    left.barh(places, rates, color=paint, height=0.75)
    right.barh(places, costs, color=paint, height=0.75)
    for axes, values in ((left, rates), (right, costs)):
        top = max([*values, 1e-9]) * 1.2
        for place, (value, row) in enumerate(zip(values, rows, strict=True)):
            text, color = (_mark(row), _color(row)) if axes is left else (f'{value:.3g}', 'black')
            axes.text(value + top / 100, place, text, va='center', fontsize=7, color=color)
        axes.set(xlim=(0, top), ylim=(len(rows) - 0.4, -0.6))
        axes.spines[['top', 'right']].set_visible(False)
    labels = [
        '  '.join(filter(None, (row['stage'][6:], row['block'], row['operator'])))
        if row['stage'].startswith('Stage ')
        else row['operator']
        for row in rows
    ]
    left.set_yticks(places, labels, fontsize=7)
    for label, row in zip(left.get_yticklabels(), rows, strict=True):
        label.set_color(_color(row))
    counts = any(row['values'] == INTEGERS for row in rows)
    what = 'mean count of spikes' if counts else 'firing rate'
    left.set_xlabel(f'{what} that the weights see')
    right.set_xlabel('energy in mJ an image')
    figure.suptitle('What each layer sees and costs', fontsize=11)
    patches = [Patch(color=color, label=group) for group, color in colors.items()]
    right.legend(
        handles=patches, fontsize=8, loc='upper left', bbox_to_anchor=(1, 1), frameon=False
    )
    return figure


def _mark(row: dict) -> str:
    """Say how often what a layer sees fires, or why that cannot be said."""
    if row['average'] is None:
        return ANALOG if row['values'] == ANALOG else 'no input'
    return SILENT if _is_silent(row) else f'{row["average"]:.3g}'


def _color(row: dict) -> str:
    return 'crimson' if _is_silent(row) else 'black'
