"""Pictures of where and how often a network fires."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor
from torch.nn.functional import interpolate

from mmspike.analysis.backbone import LayerNames
from mmspike.analysis.firing import FiringRateRecorder, LayerRecord, mean_map
from mmspike.errors import UserError

SHADES = ('#9ecae1', '#6baed6', '#4292c6', '#2171b5', '#08306b')
OTHERS = ('#2ca02c', '#ff7f0e', '#9467bd', '#8c564b', '#e377c2', '#bcbd22')
DPI = 110
MAP_DIMS = 3  # [T, H, W]


def draw_heat_maps(
    recorder: FiringRateRecorder, names: LayerNames, image: np.ndarray, padded: Sequence[int]
) -> Figure:
    """Lay over a picture where the neurons of each stage fire: a row a stage, a column a time step.

    Args:
        recorder: Has recorded maps of the backbone's stages.
        names: The names of the model's layers.
        image: What the network saw, in RGB without padding, ``[H, W, 3]``.
        padded: Height and width that the network saw, with padding on the right and below.

    Returns:
        A figure.

    Raises:
        UserError: If the backbone has no neurons.
    """
    maps = stage_maps(recorder, names)
    time_steps = max(len(rates) for rates in maps.values())
    height, width = image.shape[:2]
    cell = 2.6 * min(1.0, 2 * height / width)  # Inches that a row is high.
    cell_width = min(max(cell * width / height, 1.6), 5.2)
    figure = new_figure(cell_width * time_steps + 1.9, cell * len(maps) + 0.9)
    grid = figure.subplots(len(maps), time_steps, squeeze=False, sharex=True, sharey=True)
    grey = image.mean(axis=2)
    for row, (stage, rates) in zip(grid, maps.items(), strict=True):
        shown = enlarge_maps(rates, padded)[:, :height, :width]
        top = float(shown.max())
        for step, axes in enumerate(row):
            axes.imshow(grey, cmap='gray')
            alpha = opacity(shown[step], top)
            heat = axes.imshow(shown[step], cmap='inferno', vmin=0, vmax=top or 1, alpha=alpha)
            axes.tick_params(labelsize=7)
            if not shown[step].any():
                box = dict(facecolor='black', edgecolor='none')
                place = dict(ha='center', va='center', transform=axes.transAxes)
                axes.text(0.5, 0.5, 'silent', color='white', bbox=box, **place)
        size = ' x '.join(str(length) for length in reversed(rates.shape[1:]))
        row[0].set_ylabel(f'stage {stage}\n{size}', fontsize=10)
        bar = figure.colorbar(heat, ax=list(row), fraction=0.05, pad=0.02)
        bar.ax.tick_params(labelsize=7)
        bar.set_label('firing rate', fontsize=8)
    for step, axes in enumerate(grid[0]):
        axes.set_title(f't = {step + 1}', fontsize=10)
    counts = any(getattr(neuron, 'levels', 1) > 1 for neuron in recorder.neurons.values())
    what = 'Spikes by the most that there can be' if counts else 'Share of the neurons that fire'
    figure.suptitle(f'{what} at each place', fontsize=11)
    figure.supxlabel('pixels of the picture as the network sees it', fontsize=8)
    return figure


def stage_maps(recorder: FiringRateRecorder, names: LayerNames) -> dict[str, Tensor]:
    """Give for each stage of the backbone the share of its neurons that fire at each place.

    Args:
        recorder: Has recorded maps of the backbone's stages.
        names: The names of the model's layers.

    Returns:
        A map ``[T, H, W]`` for each stage, by its name.

    Raises:
        UserError: If the backbone has no neurons.
    """
    stages: dict[str, list] = {}
    for layer, record in recorder.records.items():
        stage = names.stage(layer)
        is_map = record.spike_map is not None and record.spike_map.dim() == MAP_DIMS
        if stage is not None and names.in_block(layer) and is_map:
            stages.setdefault(stage, []).append(record)
    if not stages:
        raise UserError(
            'no stage of the backbone has a neuron on maps, so there is nothing to show heat maps '
            'of; give a backbone that spikes, such as mmspike.MetaSpikeFormer.'
        )
    return {stage: mean_map(_of_one_size(records)) for stage, records in stages.items()}


def opacity(rates: np.ndarray, top: float) -> np.ndarray:
    """Let a heat map hide less of the picture where little fires; `top` is its largest rate."""
    return 0.15 + 0.6 * rates / (top or 1)


def draw_rates(rates: Mapping[str, Tensor], names: LayerNames) -> Figure:
    """Draw a bar for the firing rate of every layer, in order of execution.

    Args:
        rates: The rate of each layer at each time step.
        names: The names of the model's layers.

    Returns:
        A figure.
    """
    means = np.array([float(rate.mean()) for rate in rates.values()])
    parts = [names.part(layer) for layer in rates]
    colors = part_colors(parts)
    figure = new_figure(9, 0.19 * len(rates) + 1.6)
    axes = figure.subplots()
    places = np.arange(len(rates))
    axes.barh(places, means, color=[colors[part] for part in parts], height=0.75)
    top = max(means.max() * 1.18, 1e-3)
    for place, mean in zip(places.tolist(), means, strict=True):
        digits = '.1f' if mean >= 0.0005 else '.1g'
        text, color = (f'{100 * mean:{digits}} %', 'black') if mean else ('silent', 'crimson')
        axes.text(mean + top / 100, place, text, va='center', fontsize=7, color=color)
    axes.set_yticks(places, [names.short(layer) for layer in rates], fontsize=7)
    for label, mean in zip(axes.get_yticklabels(), means, strict=True):
        label.set_color('black' if mean else 'crimson')
    axes.set(xlim=(0, top), ylim=(len(rates) - 0.4, -0.6))
    axes.set_xlabel('firing rate, averaged over the time steps')
    axes.set_title('How often each layer fires, in order of execution', fontsize=11)
    axes.spines[['top', 'right']].set_visible(False)
    patches = [Patch(color=color, label=part) for part, color in colors.items()]
    axes.legend(handles=patches, fontsize=8, loc='upper left', bbox_to_anchor=(1, 1), frameon=False)
    return figure


def part_colors(parts: Sequence[str]) -> dict[str, str]:
    """Choose a colour for each part: shades of one for the stages, others for neck and heads."""
    parts = list(dict.fromkeys(parts))
    stages = [part for part in parts if part.startswith('stage ')]
    others = [part for part in parts if part not in stages]
    pairs = [*zip(sorted(stages), SHADES * len(stages), strict=False)]
    pairs += zip(others, OTHERS * len(others), strict=False)
    colors = dict(pairs)
    return {part: colors[part] for part in parts}


def write_rates(
    rates: Mapping[str, Tensor], not_run: Sequence[str], names: LayerNames, folder: Path
) -> None:
    """Write the rates as ``firing_rates.json`` and ``firing_rates.csv``.

    Args:
        rates: The rate of each layer at each time step.
        not_run: Layers that never ran.
        names: The names of the model's layers.
        folder: Where to write.
    """
    layers: list[dict[str, Any]] = [
        dict(layer=name, part=names.part(name), mean=float(rate.mean()), rates=rate.tolist())
        for name, rate in rates.items()
    ]
    table = dict(layers=layers, not_run=list(not_run))
    (folder / 'firing_rates.json').write_text(json.dumps(table, indent=1))
    steps = max(len(rate) for rate in rates.values())
    with open(folder / 'firing_rates.csv', 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['layer', 'part', 'mean', *(f't{t + 1}' for t in range(steps))])
        for layer in layers:
            writer.writerow([layer['layer'], layer['part'], layer['mean'], *layer['rates']])


def save(figure: Figure, path: Path) -> None:
    """Write a figure with a margin around it."""
    figure.savefig(path, bbox_inches='tight', pad_inches=0.15)


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def _of_one_size(records: list[LayerRecord]) -> list[LayerRecord]:
    """Keep the neurons on maps of the stage's size, which most have.

    Those before a downsampling fire on the maps of the stage before, and some in SDSA-1 and 2 stand
    for all positions at once.
    """
    sizes = [record.spike_map.shape for record in records if record.spike_map is not None]
    usual = max(reversed(sizes), key=sizes.count)
    return [r for r, size in zip(records, sizes, strict=True) if size == usual]


def enlarge_maps(rates: Tensor, size: Sequence[int]) -> np.ndarray:
    """Enlarge maps ``[T, H, W]``, each position a square: what lies between was not measured."""
    return interpolate(rates[None], tuple(size), mode='nearest')[0].numpy()
