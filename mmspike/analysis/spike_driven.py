"""Prove that a model is spike-driven: record what its weights and matrix products see."""

from dataclasses import dataclass

import torch
from torch import nn

from mmspike.analysis.operations import WEIGHT_LAYERS, Operation, WatchedOperations
from mmspike.analysis.spike_kinds import KINDS


@dataclass
class Operand:
    """What one operation saw over all calls.

    Args:
        name: The module in which it runs.
        operation: A convolution, linear layer or matrix product.
        kind: ``'spikes'`` (0 and 1 alone), ``'integers'`` (counts of spikes), ``'analog'``, or
            ``'silent'`` (0 alone, which proves nothing). Of a product it is the better operand's.
        rate: The mean of what it saw.
        is_first: Whether it is the first to run, which sees the image.
        nonzero: The share of it that is not 0; of spikes it is the mean.
    """

    name: str
    operation: str
    kind: str
    rate: float
    is_first: bool = False
    nonzero: float = 0.0

    @property
    def verdict(self) -> str:
        """``'image'``, or the kind of what was seen."""
        return 'image' if self.is_first else self.kind


class OperandRecorder(WatchedOperations):
    """Look at the operands of every convolution, linear layer and matrix product of a model.

        with OperandRecorder(model) as recorder:
            model.test_step(batch)
        recorder.operands

    Args:
        model: Same as in `WatchedOperations`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._records: dict[tuple[str, str], Operand] = {}

    @property
    def operands(self) -> list[Operand]:
        """All operations in the order of their first call.

        Raises:
            UserError: If one multiplies in a way that is not known.
        """
        self.require_known()
        return list(self._records.values())

    def _saw(self, seen: Operation) -> None:
        if not seen.operand.numel():  # A head that was given no RoIs.
            return
        (name, _), x = self.running, seen.operand
        rate, nonzero = float(x.float().mean()), float((x != 0).float().mean())
        new = Operand(name, seen.name, seen.kind, rate, not self._records, nonzero)
        record = self._records.setdefault((name, seen.name), new)
        record.kind = max(record.kind, seen.kind, key=KINDS.index)
        record.rate, record.nonzero = max(record.rate, rate), max(record.nonzero, nonzero)


def randomize_norms(module: nn.Module) -> nn.Module:
    """Make the neurons behind every batch norm and behind every layer without a norm fire.

    An untrained network in evaluation mode is silent, which proves nothing. Norms get statistics,
    scales and shifts, and layers between two neurons that have a bias of their own get another.

    Args:
        module: A model, changed in place.
    """
    generator = torch.Generator().manual_seed(7)
    for m in module.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            mean, variance = m.get_buffer('running_mean'), m.get_buffer('running_var')
            mean.normal_(0, 0.1, generator=generator)
            variance.uniform_(0.05, 0.3, generator=generator)
            with torch.no_grad():
                m.weight.uniform_(1.0, 3.0, generator=generator)
                m.bias.normal_(0.8, 0.8, generator=generator)
    for m in module.modules():
        if not isinstance(m, WEIGHT_LAYERS) or m.bias is None or not hasattr(m, 'neuron'):
            continue
        # Readouts know the time steps over which they average.
        if getattr(m, 'norm', None) is None and not hasattr(m, 'time_steps'):
            with torch.no_grad():
                m.bias.normal_(0.8, 0.8, generator=generator)
    return module


enliven = randomize_norms  # Its name until this release.
