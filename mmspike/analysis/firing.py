"""Counting the spikes of every neuron layer while a model runs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmspike.errors import UserError
from mmspike.neurons import SpikingNeuron, find_neurons, unfold


@dataclass
class LayerRecord:
    """What one neuron layer did over all recorded forwards.

    Args:
        spikes: The number of spikes in each time step, ``[T]``, by the neuron's `levels`: one of an
            integer neuron that fires D is one.
        active: How many neurons fired at all in each time step, ``[T]``.
        elements: How many neurons could have fired in one time step, summed over batches and calls.
        calls: How often the layer ran; a head that all pyramid levels share runs once a level.
        spike_map: Where the spikes were, summed over samples and channels, ``[T, H, W]``; None if
            no map was asked for.
        map_units: How many neurons each position of the map counts.
    """

    spikes: Tensor
    active: Tensor
    elements: int = 0
    calls: int = 0
    spike_map: Tensor | None = None
    map_units: int = 0

    @property
    def rates(self) -> Tensor:
        """The mean count by the levels in each time step, ``[T]``: of binary ones the share."""
        return (self.spikes / self.elements).cpu()

    @property
    def nonzero(self) -> Tensor:
        """The share of neurons that fire at all in each time step, ``[T]``."""
        return (self.active / self.elements).cpu()


class FiringRateRecorder:
    """Record the firing rate of every neuron layer of a model, per time step.

    A context manager: inside, every forward of the model adds to the counts, outside none does.
    Entered again, it counts on. Kept are sums, so memory does not grow with the number of forwards.

        with FiringRateRecorder(model) as recorder:
            model.test_step(batch)
        recorder.rates['backbone.stages.0.0.token_mixer.depthwise.neuron']  # a tensor [T]

    Args:
        model: A model whose neurons spike.
        keep_map: Tells by a layer's name whether to record where it fires, not only how often; None
            records no maps.

    Raises:
        UserError: If the model has no neurons, or neurons that do not spike, such as the ReLU of an
            ANN twin.
    """

    def __init__(self, model: nn.Module, keep_map: Callable[[str], bool] | None = None) -> None:
        self.neurons = find_neurons(model)
        self.keep_map = keep_map
        self.records: dict[str, LayerRecord] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        if not self.neurons:
            raise UserError(
                f'{type(model).__name__} has no spiking neuron, so there are no firing rates; give '
                'a model with a mmspike backbone, such as mmspike.MetaSpikeFormer.'
            )
        for name, neuron in self.neurons.items():
            if type(neuron).__module__.startswith('torch.nn.'):
                raise _not_spiking(name, neuron)

    def __enter__(self) -> 'FiringRateRecorder':
        for name, neuron in self.neurons.items():
            self._handles.append(neuron.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @property
    def rates(self) -> dict[str, Tensor]:
        """The firing rate of each layer that ran, in order of execution: a tensor ``[T]``."""
        return {name: record.rates for name, record in self.records.items()}

    @property
    def not_run(self) -> list[str]:
        """The neuron layers that no forward reached."""
        return [name for name in self.neurons if name not in self.records]

    def _hook(self, name: str) -> Callable:
        @torch.no_grad()
        def record(neuron: nn.Module, inputs: tuple, out: Tensor) -> None:
            if out.numel():  # A head that was given no RoIs has nothing to say.
                self._count(name, neuron, out)

        return record

    def _count(self, name: str, neuron: nn.Module, out: Tensor) -> None:
        full = 1.0
        if isinstance(neuron, SpikingNeuron):
            full = neuron.levels * neuron.unit
        elif not bool(((out == 0) | (out == 1)).all()):
            raise _not_spiking(name, neuron)
        spikes = unfold(out, getattr(neuron, 'time_steps', None))  # [T, B, ...]
        time_steps = len(spikes)
        # A sum in single precision stops counting at 2**24.
        counts = spikes.flatten(1).sum(dim=1, dtype=torch.float64) / full
        if name not in self.records:
            zeros = torch.zeros_like(counts)
            self.records[name] = LayerRecord(zeros, zeros.clone())
        record = self.records[name]
        if len(record.spikes) != time_steps:
            raise UserError(
                f'{name} ran with {len(record.spikes)} time steps and then with {time_steps}: use '
                'a recorder of its own for each number of time steps.'
            )
        record.spikes += counts
        record.active += spikes.flatten(1).count_nonzero(dim=1)
        record.elements += spikes[0].numel()
        record.calls += 1
        if self.keep_map is not None and self.keep_map(name):
            _add_map(name, record, spikes / full)


def _add_map(name: str, record: LayerRecord, spikes: Tensor) -> None:
    """Add spikes ``[T, B, C, H, W]`` to a record's map."""
    where = spikes.sum(dim=(1, 2), dtype=torch.float32)
    if record.spike_map is None:
        record.spike_map = torch.zeros_like(where)
    if record.spike_map.shape != where.shape:
        raise UserError(
            f'{name} saw an image of another size ({tuple(where.shape[1:])} instead of '
            f'{tuple(record.spike_map.shape[1:])} positions): use a recorder of its own for each '
            'image when maps are kept.'
        )
    record.spike_map += where
    record.map_units += spikes.shape[1] * spikes.shape[2]


def mean_map(records: Iterable[LayerRecord]) -> Tensor:
    """Average the maps of layers of one resolution: the share of their neurons that fire.

    Args:
        records: Records with maps of the same size.

    Shape:
        - returns: ``[T, H, W]``
    """
    records = list(records)
    units = sum(record.map_units for record in records)
    maps = [record.spike_map for record in records if record.spike_map is not None]
    return torch.stack(maps).sum(dim=0).cpu() / units


def _not_spiking(name: str, neuron: nn.Module) -> UserError:
    return UserError(
        f'{name} is a {type(neuron).__name__}, which does not spike (its outputs are not 0 and 1): '
        'an ANN twin has no firing rates; use a config whose backbone.neuron is mmspike.LIF or '
        'another spiking one.'
    )
