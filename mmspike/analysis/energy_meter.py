"""The energy of a spiking model, from the operations that its layers do on real input."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from mmspike.analysis.analog import AnalogOperations
from mmspike.analysis.backbone import Layer, LayerNames, find_backbone
from mmspike.analysis.firing import FiringRateRecorder
from mmspike.analysis.operations import Operation
from mmspike.analysis.spike_kinds import ANALOG, INTEGERS, KINDS, SILENT, SPIKES, kind_of
from mmspike.deploy import find_unmerged
from mmspike.errors import UserError
from mmspike.neurons import unfold

# Picojoule for one operation on 32-bit numbers in 45 nm (Horowitz, ISSCC 2014).
E_MAC, E_AC = 4.6, 0.9
PARTS = ('backbone', 'neck', 'head')


@dataclass
class LayerCost:
    """What one row of layers did over all images.

    Args:
        layer: The row.
        macs: Multiply-accumulates that its weights stand for, in each time step.
        additions: Those of them that a spike brings about, a count of spikes as many times.
        nonzeros: Those of them that see anything but 0; None if only rates are known.
        twin: Multiply-accumulates of the ANN twin, which has one time step.
        unpadded: How many additions, and how many multiply-accumulates, fall on values and not on
            the zeros of padding, ``[2]``; None if only rates are known.
        values: What its weights saw, as `mmspike.analysis.spike_kinds.kind_of` tells it.
        repeats: How many time steps were computed at once, as for a still image.
    """

    layer: Layer
    macs: Tensor
    additions: Tensor
    nonzeros: Tensor | None
    unpadded: Tensor | None = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
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
    def nonzero(self) -> float | None:
        """The share of what its weights see that is not 0; of spikes it is the mean rate."""
        if self.rates is None or self.nonzeros is None:
            return None
        return float((self.nonzeros / self.macs.clamp(min=1)).mean())

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

    def millijoule_unpadded(self, cost: LayerCost) -> float | None:
        """The energy of a layer as `millijoule`, but without the zeros of its padding.

        The papers' formula lets them spike at the rate of the layer. None if only rates are known.
        """
        if cost.unpadded is None:
            return None
        analog = cost.values == ANALOG
        return (
            float(cost.unpadded[int(analog)])
            * (self.e_mac if analog else self.e_ac)
            * 1e-9
            / self.images
        )

    def total(self, part: str | None = None, every_step: bool = False) -> float:
        """The energy of a part, or of all, for one image in mJ; see `millijoule`."""
        return sum(
            self.millijoule(cost, every_step)
            for cost in self.costs
            if part in (None, cost.layer.part)
        )

    def total_unpadded(self) -> float | None:
        """The energy of all for one image in mJ; see `millijoule_unpadded`."""
        energies = [self.millijoule_unpadded(cost) for cost in self.costs]
        return None if None in energies else sum(e for e in energies if e is not None)

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


class EnergyMeter(AnalogOperations):
    """Count the operations of every layer of a spiking model while it runs.

    A context manager: every forward of the model inside adds to the counts.

        model = reparameterize(model, 'spike')  # What a chip runs.
        with EnergyMeter(model) as meter:
            model.test_step(batch)
        meter.energy().total()  # mJ for one image

    Weight layers count their multiply-accumulates, times the mean of what they see in each time
    step, and so do matrix products with the operand that spikes; layers of one row are added up. A
    module with a rule for its products says by ``operand_macs`` what each of its ``operands`` costs
    that leaves a neuron ``<operand>_neuron``. The time steps of a layer are those of the neuron in
    front. What runs before the first neuron encodes the image, and multiplies.

    Args:
        model: Any model with spiking neurons, in evaluation mode and merged.

    Raises:
        UserError: If nothing in the model spikes, or it is not merged.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._neurons = FiringRateRecorder(model).neurons  # Refuses what does not spike.
        if (unmerged := find_unmerged(model)) is not None:
            raise UserError(
                f'{unmerged or "the model"} is not merged as a chip runs it, so it would cost too '
                "much; count on mmspike.deploy.reparameterize(model, 'spike')."
            )
        self.images = 0
        self.time_steps = 1
        self.costs: dict[tuple[str, str, str], LayerCost] = {}
        self._names = LayerNames(model)
        self._backbone, _ = find_backbone(model)
        self._operands: dict[str, Any] = {
            f'{name}.{operand}_neuron'.lstrip('.'): module
            for name, module in model.named_modules()
            if hasattr(module, 'operand_macs')
            for operand in module.operands
        }
        self._batch, self._steps = 0, 1  # Samples, and time steps of what runs now.
        self._outer: int | None = None  # Samples that the model was called with.
        self._given: int | None = None  # Images of the data, where it tells, less those counted.
        self._encoding: list[tuple[str, Operation, Tensor]] = []  # What precedes the first neuron.

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        output = super().__torch_function__(func, types, args, kwargs)
        if func in (Tensor.mean, torch.mean) and self._steps > 1:
            x, dim = [*args, *(kwargs or {}).values(), None][:2]
            if dim == 0 and len(x) == self._steps:
                self._steps = 1  # Behind the average over time there is one.
        return output

    def _entered(self, name: str, module: nn.Module, inputs: tuple) -> None:
        samples = len(inputs[0]) if inputs and isinstance(inputs[0], Tensor) else None
        if len(self._stack) == 1 and self._given is None:
            self._outer = None if name == self._backbone else samples
        if name == self._backbone:
            self._batch = 0
            self._encoding.clear()
            if self._given is None and self._outer != samples:
                self._given = self._outer  # The model cuts its images, or takes them one by one.

    def _left(self, name: str, module: Any, inputs: tuple, output: Any) -> None:
        super()._left(name, module, inputs, output)
        if name in self._neurons:
            self._steps, batch = unfold(output, getattr(module, 'time_steps', None)).shape[:2]
            self._encoded(batch)
            if (owner := self._operands.get(name)) is not None:
                macs, kind = owner.operand_macs(output), kind_of(output)
                twin = macs * 2 / len(owner.operands)  # Two products, whatever the operands.
                self._count(name, Operation('', output, kind, macs), self._steps, twin)
        elif name == self._backbone and self._encoding:  # It has no neuron.
            self._steps = 1
            self._encoded(len(self._encoding[0][1].operand))
        if isinstance(module, BaseDataPreprocessor) and isinstance(output, dict):
            self._given = len(output['inputs'])
        elif not self._stack:
            self._given = None

    def _encoded(self, batch: int) -> None:
        """Count what encoded a batch, whose size the first neuron tells."""
        if self._batch:
            return
        self._batch, self.time_steps = batch, self._steps
        # What cuts an image into windows runs its backbone many times for one image.
        self.images += batch if self._given is None else self._given
        if self._given is not None or self._outer is not None:
            self._given = 0
        for name, seen, unpadded in self._encoding:
            # Analog, however black the image is; a still one is encoded once, or at every step.
            seen.kind = ANALOG
            steps = max(len(seen.operand) // batch, 1)
            cost = self._count(name, seen, steps, seen.macs, unpadded)
            cost.repeats = self._steps // len(cost.macs)
        self._encoding.clear()

    def _saw(self, seen: Operation) -> None:
        name, module = self.running
        if seen.is_product:
            if hasattr(module, 'operand_macs'):
                return
            name = f'{name}.{seen.name}'.lstrip('.')
        else:
            self.ran.add(name)
        unpadded = seen.count_unpadded()
        if (sub_steps := getattr(module, 'sub_steps', 1)) > 1:  # Its sums are those of one step.
            seen.operand = seen.operand.unflatten(0, (sub_steps, -1)).sum(0)
            seen.macs //= sub_steps
            unpadded[1] /= sub_steps
        if not self._batch:
            self._encoding.append((name, seen, unpadded))
            return
        steps = getattr(getattr(module, 'neuron', None), 'time_steps', None) or self._steps
        if len(seen.operand) % steps:  # An average over time that was not seen.
            steps = 1
        weights, twin = getattr(module, 'unmerged_weights', None), seen.macs
        if weights is not None:
            twin = seen.macs * weights / module.get_parameter('weight').numel()
        self._count(name, seen, steps, twin, unpadded)

    def _count(
        self, name: str, seen: Operation, steps: int, twin: float, unpadded: Tensor | None = None
    ) -> LayerCost:
        layer = self._names.layer(name)
        empty = LayerCost(layer, *torch.zeros(3, steps, dtype=torch.float64))
        cost = self.costs.setdefault(layer.key, empty)
        steps, x = len(cost.macs), seen.operand.detach()
        cost.macs += seen.macs / steps
        cost.twin += twin / steps
        cost.values = max(cost.values, seen.kind, key=KINDS.index)
        assert cost.unpadded is not None  # It counts operations, and no rates.
        cost.unpadded += seen.count_unpadded() if unpadded is None else unpadded
        if seen.kind in (SPIKES, INTEGERS):
            sequence = x.unflatten(0, (steps, -1))
            dims = tuple(range(1, sequence.dim()))
            rates = sequence.mean(dims, dtype=torch.float64).cpu()
            nonzero = (sequence != 0).mean(dims, dtype=torch.float64).cpu()
            cost.additions += seen.macs / steps * rates
            cost.nonzeros += seen.macs / steps * nonzero
        return cost

    def energy(self, e_mac: float = E_MAC, e_ac: float = E_AC) -> Energy:
        """Sum up what was counted.

        Args:
            e_mac: Picojoule for a multiply-accumulate.
            e_ac: Picojoule for an addition.

        Raises:
            UserError: If no image ran, an operation multiplies in a way that is not known, or an
                energy is not above 0.
        """
        if not self.images:
            raise UserError('no image ran through the model, but energy is counted for at least 1.')
        self.require_known()
        check_costs(e_mac, e_ac)
        costs = list(self.costs.values())  # In the order in which they ran.
        counts = dict(self.counts)
        return Energy(costs, counts, self.images, self.time_steps, self.not_run, e_mac, e_ac)


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
        cost.additions, cost.nonzeros, cost.unpadded = cost.macs * given, None, None
        if not given.any():
            cost.values = SILENT
        elif cost.values == SILENT:
            cost.values = SPIKES


def _show(key: Sequence[str]) -> str:
    return "'" + ' / '.join(part for part in key if part) + "'"
