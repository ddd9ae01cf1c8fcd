"""Write what a chip builder needs: the graph, the weights, the spikes, and a reader of them."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmspike.deploy.int8 import FRACTION_BITS, PICTURE_BITS
from mmspike.deploy.reparameterize import reparameterize
from mmspike.version import __version__

from .lower import Lowered, lower
from .neuron_constants import constants
from .trace import Golden, trace

READER = Path(__file__).with_name('reader.py')


def export_chip(model: nn.Module, pictures: Sequence[Tensor], folder: Path) -> list[str]:
    """Write a model for chip builders, as ``docs/hardware.md`` says it.

    Args:
        model: A trained model, in evaluation mode.
        pictures: What to run, each as the model's data preprocessor puts it out, all of one size;
            the graph is of that size.
        folder: Where to write; it is there.

    Returns:
        What there is to say.

    Raises:
        UserError: If the network computes something that the format does not have.
    """
    reparameterize(model, 'unroll')  # Refuses counts that are no binary sub-steps.
    forms = {'fp32': reparameterize(model, 'spike'), 'int8': reparameterize(model, 'int8')}
    program = trace(forms['fp32'], pictures[0][None])
    graph = lower(program, forms['int8'])
    runs: list[dict] = []
    units: dict[str, dict[str, int]] = {}
    layers: dict[str, int] = {}
    for form, merged in forms.items():
        weights = f'weights_{form}.npz'
        arrays, units[form] = _arrays(graph, merged, form == 'int8')
        np.savez(folder / weights, **arrays)
        golden = Golden(program, merged.double())
        for number, picture in enumerate(pictures):
            found = _record(golden, graph, picture[None], form == 'int8')
            file = f'spikes_{form}_{number}.npz'
            np.savez_compressed(folder / file, **found)
            runs.append({'form': form, 'weights': weights, 'spikes': file})
            for name, counts in golden.counts.items():
                layers[name] = layers.get(name, 0) + int(counts.sum())
    said = {
        'format': 'mmspike-chip-1',
        'mmspike': __version__,
        'model': type(model).__name__,
        'fraction_bits': FRACTION_BITS,
        'runs': runs,
        'bits': units,
        'outputs': graph.outputs,
        'nodes': graph.nodes,
    }
    (folder / 'graph.json').write_text(json.dumps(said, indent=1))
    shutil.copy(READER, folder / 'reader.py')
    return _report(model, graph, layers)


def _arrays(graph: Lowered, model: Any, whole: bool) -> tuple[dict[str, Any], dict[str, int]]:
    """Collect weights and constants, as integers or not, and the units of the integers."""
    arrays: dict[str, Any] = {name: array.numpy() for name, array in graph.arrays.items()}
    bits = {'picture.values': PICTURE_BITS} if whole else {}
    for node in graph.nodes:
        if node['op'] == 'neuron':
            neuron = model.get_submodule(node['name'].partition('@')[0])
            unit = node['potential_bits'] if whole else None
            found = constants(neuron, unit)
            arrays.update({f'{node["name"]}.{key}': value for key, value in found.items()})
            if unit is not None:
                bits.update(dict.fromkeys((f'{node["name"]}.{key}' for key in found), unit))
        elif 'layer' in node:
            name, layer = node['layer'], model.get_submodule(node['layer'])
            weight, bias = layer.weight, layer.bias
            bias = torch.zeros(len(weight)) if bias is None else bias
            bias, scale = bias.double(), torch.ones(len(weight), dtype=torch.float64)
            if whole:
                weight, scale = layer.weight_q, layer.scale_m
                bias = (bias * 2**FRACTION_BITS).round().long()
                bits.update({f'{name}.scale': layer.scale_bits, f'{name}.bias': FRACTION_BITS})
            scale = scale.view(-1, *[1] * (weight.dim() - 1))
            arrays[f'{name}.weight'] = weight.numpy()
            arrays[f'{name}.scale'] = scale.numpy()
            arrays[f'{name}.bias'] = bias.numpy()
    return arrays, bits


def _record(golden: Golden, graph: Lowered, picture: Tensor, whole: bool) -> dict[str, Any]:
    """Run a picture, and pack what fires: ``[T, D, neurons]`` in {0, 1}, a bit each."""
    values: Any = picture.numpy()
    if whole:
        integers = (picture.double() * 2**PICTURE_BITS).round()
        values, picture = integers.to(torch.int32).numpy(), integers / 2**PICTURE_BITS
    outputs = golden.outputs(picture.double())
    found = {f'{name}.told': out.numpy() for name, out in zip(graph.outputs, outputs, strict=True)}
    found['picture.values'] = values
    for place, counts in golden.counts.items():
        name = graph.places[place]
        node = next(n for n in graph.nodes if n['name'] == name)
        steps = counts.reshape(node['time_steps'], 1, -1)
        levels = torch.arange(node['levels'])[:, None]
        found[f'{name}.spikes'] = np.packbits((steps > levels).numpy())
    return found


def _report(model: Any, graph: Lowered, layers: dict[str, int]) -> list[str]:
    silent = [graph.places[place] for place, count in layers.items() if not count]
    kinds = [node['op'] for node in graph.nodes]
    weighing = kinds.count('conv') + kinds.count('linear')
    lines = [f'{weighing} weight layers, {len(layers)} layers of neurons, {len(kinds)} nodes']
    if hasattr(model, 'roi_head'):
        lines.append('The RoI heads are left out: what they see depends on the picture')
    if len(silent) == len(layers):
        lines.append('No neuron fires on these pictures: is the model trained?')
    elif silent:
        lines.append(f'{len(silent)} layers never fire on these pictures, such as {silent[0]}')
    real = [n['name'] for n in graph.nodes if n['op'] == 'neuron' and n['potential_bits'] is None]
    if real:
        lines.append(f'{len(real)} layers have no fixed-point potentials, such as {real[0]}')
    return [*lines, 'Run python reader.py in the folder: it recomputes every spike']
