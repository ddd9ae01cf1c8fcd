"""The energy of a spiking model, from the operations that its layers do on real input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor, nn

from mmspike.analysis.analog import AnalogOperations
from mmspike.analysis.backbone import find_backbone
from mmspike.analysis.firing import FiringRateRecorder
from mmspike.analysis.operations import Layer, find_layers
from mmspike.analysis.spike_kinds import ANALOG, KINDS, SILENT, SPIKES, kind_of
from mmspike.errors import UserError

# Picojoule for one operation on 32-bit numbers in 45 nm (Horowitz, ISSCC 2014).
E_MAC, E_AC = 4.6, 0.9
PARTS = ('backbone', 'neck', 'head')


@dataclass
class LayerCost:
    """What one layer did over all images.

    Args:
        layer: The layer.
        macs: Multiply-accumulates that its weights stand for, in each time step.
        additions: Those of them that a spike brings about.
        twin: Multiply-accumulates of the ANN twin, which has one time step.
        values: What its weights saw, as `mmspike.analysis.spike_kinds.kind_of` tells it.
        repeats: How many time steps were computed at once, as for a still image.
    """

    layer: Layer
    macs: Tensor
    additions: Tensor
    twin: float = 0.0
    values: str = SILENT
    repeats: int = 1

    @property
    def rates(self) -> Tensor | None:
        """Spikes for each input in each time step, ``[T]``; None for analog values or no call."""
        if self.values == ANALOG or not self.macs.sum():
            return None
        return self.additions / self.macs.clamp(min=1)

    @property
    def is_silent(self) -> bool:
        """Whether its weights saw values, and zeros alone."""
        return self.rates is not None and self.values == SILENT


@dataclass
class Energy:
    """The operations of a model, an image on average, and their energy.

    Args:
        costs: The layers that ran.
        analog: Other analog operations: kind and module's path, to their number over all images.
        images: How many images ran.
        time_steps: T of the backbone.
        not_run: Names of layers that never ran.
        e_mac: Picojoule for a multiply-accumulate.
        e_ac: Picojoule for an addition.
    """

    costs: list[LayerCost]
    analog: Mapping[tuple[str, str], int]
    images: int
    time_steps: int
    not_run: list[str] = field(default_factory=list)
    e_mac: float = E_MAC
    e_ac: float = E_AC

    def millijoule(self, cost: LayerCost, every_step: bool = False) -> float:
        """The energy of a layer for one image, in mJ.

        Args:
            cost: The layer.
            every_step: Count the encoding of a still image at every time step, as the paper does.
        """
        if cost.values == ANALOG:
            picojoule = float(cost.macs.sum()) * self.e_mac * (cost.repeats if every_step else 1)
        else:
            picojoule = float(cost.additions.sum()) * self.e_ac
        return picojoule * 1e-9 / self.images

    def total(self, part: str | None = None, every_step: bool = False) -> float:
        """The energy of a part, or of all, for one image in mJ; see `millijoule`."""
        return sum(
            self.millijoule(cost, every_step)
            for cost in self.costs
            if part in (None, cost.layer.part)
        )

    def operations(self, part: str) -> tuple[float, float]:
        """Additions and multiply-accumulates of a part for one image."""
        costs = [cost for cost in self.costs if cost.layer.part == part]
        additions = sum(float(t.additions.sum()) for t in costs if t.values != ANALOG)
        macs = sum(float(t.macs.sum()) for t in costs if t.values == ANALOG)
        return additions / self.images, macs / self.images

    def twin(self, part: str | None = None) -> float:
        """The energy of the ANN twin for one image in mJ: one step, all multiplications."""
        macs = sum(cost.twin for cost in self.costs if part in (None, cost.layer.part))
        return macs * self.e_mac * 1e-9 / self.images


class EnergyMeter:
    """Count the operations of every layer of a spiking model while it runs.

    A context manager: every forward of the model inside adds to the counts.

        with EnergyMeter(model) as meter:
            model.test_step(batch)
        meter.energy().total()  # mJ for one image

    Args:
        model: A model of mmdet, mmseg or mmpretrain with a spiking backbone, in evaluation mode
            and not re-parameterized.

    Raises:
        UserError: If nothing in the model spikes.
    """

    def __init__(self, model: nn.Module) -> None:
        FiringRateRecorder(model)  # Refuses what does not spike.
        self.layers = find_layers(model)
        self.images = 0
        self.costs: dict[str, LayerCost] = {}
        _, self._backbone = find_backbone(model)
        self._analog = AnalogOperations(model)
        self._seen: dict[str, tuple[int, Tensor, str]] = {}
        self._handles: list = []
        self._still = True

    def __enter__(self) -> 'EnergyMeter':
        hooks = [self._backbone.register_forward_pre_hook(self._start)]
        for layer in self.layers:
            if layer.sees_input:
                look = layer.source.register_forward_pre_hook(
                    lambda _, inputs, layer=layer: self._look(layer, inputs[0])
                )
            else:
                look = layer.source.register_forward_hook(
                    lambda _, __, output, layer=layer: self._look(layer, output)
                )
            count = layer.target.register_forward_hook(
                lambda _, inputs, output, layer=layer: self._count(layer, inputs[0], output)
            )
            hooks += [look, count]
        self._handles = hooks
        self._analog.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._analog.__exit__(*exception)
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @property
    def time_steps(self) -> int:
        """T of the backbone."""
        return self._backbone.time_steps

    def _start(self, _: nn.Module, inputs: tuple) -> None:
        self.images += len(inputs[0])
        self._still = inputs[0].dim() == 4

    def _steps(self, layer: Layer) -> int:
        """How many time steps the batch of a layer holds."""
        if layer.part != 'backbone':
            return self._backbone.out_time_steps
        is_stem = layer is self.layers[0]
        return 1 if is_stem and self._still else self._backbone.time_steps

    @torch.no_grad()
    def _look(self, layer: Layer, x: Tensor) -> None:
        """Remember how many samples a layer sees, the mean of its inputs at each step, and what."""
        steps = self._steps(layer)
        # The first sees the image, however black.
        values = ANALOG if layer is self.layers[0] else kind_of(x)
        rates = torch.zeros(steps, dtype=torch.float64)
        if x.numel():
            rates = x.reshape(steps, -1).sum(dim=1, dtype=torch.float64).cpu() * steps / x.numel()
        self._seen[layer.name] = len(x), rates, values

    def _count(self, layer: Layer, x: Tensor, output: Tensor) -> None:
        samples, rates, values = self._seen.pop(layer.name)
        steps = len(rates)
        shapes = x.shape[1:], output.shape[1:]
        macs = torch.full_like(rates, samples * layer.macs(*shapes) / steps)
        if layer.name not in self.costs:
            repeats = self.time_steps if layer is self.layers[0] and self._still else 1
            zeros = torch.zeros_like(rates)
            self.costs[layer.name] = LayerCost(layer, zeros, zeros.clone(), repeats=repeats)
        cost = self.costs[layer.name]
        cost.macs += macs
        cost.additions += macs * rates
        cost.twin += samples * (layer.twin_macs or layer.macs)(*shapes) / steps
        cost.values = max(cost.values, values, key=KINDS.index)

    def energy(self, e_mac: float = E_MAC, e_ac: float = E_AC) -> Energy:
        """Sum up what was counted.

        Args:
            e_mac: Picojoule for a multiply-accumulate.
            e_ac: Picojoule for an addition.

        Raises:
            UserError: If no image ran, or an energy is not above 0.
        """
        if not self.images:
            raise UserError('no image ran through the model, but energy is counted for at least 1.')
        check_costs(e_mac, e_ac)
        costs = list(self.costs.values())  # In the order in which they ran.
        not_run = [layer.name for layer in self.layers if layer.name not in self.costs]
        counts = dict(self._analog.counts)
        return Energy(costs, counts, self.images, self.time_steps, not_run, e_mac, e_ac)


def check_costs(e_mac: float, e_ac: float) -> None:
    """Demand that what an operation costs can be counted with.

    Args:
        e_mac: Picojoule for a multiply-accumulate.
        e_ac: Picojoule for an addition.

    Raises:
        UserError: If one of them is not above 0.
    """
    if not all(0 < cost < inf for cost in (e_mac, e_ac)):
        raise UserError(
            f'e_mac={e_mac} and e_ac={e_ac} must be picojoule above 0; give what an operation '
            f'costs, such as {E_MAC} and {E_AC}.'
        )


def use_rates(energy: Energy, rates: Mapping[tuple[str, str, str], Sequence[float]]) -> None:
    """Put given firing rates in the place of the measured ones.

    Args:
        energy: What was counted, changed in place.
        rates: For every layer that sees spikes, by stage (neck and head: the part), block and
            operator: its rate at each time step, or one for all.

    Raises:
        UserError: If a layer is missing or unknown, or the number of rates is wrong.
    """
    wanted = {t.layer.key: t for t in energy.costs if t.values != ANALOG}
    own = {t.layer.key for t in energy.costs}
    for key in rates:
        if key not in own:
            raise UserError(
                f'the rates name {_show(key)}, which is no layer of the model; take the names from '
                'the CSV that this command writes without --rates.'
            )
    for key, cost in wanted.items():
        if key not in rates:
            raise UserError(f'the rates lack {_show(key)}; add a row for it.')
        given = torch.tensor(list(rates[key]), dtype=torch.float64)
        if len(given) not in (1, len(cost.macs)):
            raise UserError(
                f'the rates give {_show(key)} {len(given)} values, but it has '
                f'{len(cost.macs)} time steps; give one for each, or an average alone.'
            )
        cost.additions = cost.macs * given
        if not given.any():
            cost.values = SILENT
        elif cost.values == SILENT:
            cost.values = SPIKES


def _show(key: Sequence[str]) -> str:
    return "'" + ' / '.join(part for part in key if part) + "'"
