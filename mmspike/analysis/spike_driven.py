"""Record what weights and matrix products see while a model runs: spikes, or analog values."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmspike.analysis.backbone import find_backbone
from mmspike.analysis.operations import WEIGHT_LAYERS
from mmspike.analysis.spike_kinds import KINDS, kind_of
from mmspike.analysis.tracked import TrackedFunctions
from mmspike.layers import (
    SpikeConv2d,
    SpikeConvTranspose2d,
    SpikeLinear,
    SpikeReadoutConv2d,
    SpikeReadoutLinear,
)

LAYERS = {
    torch.nn.functional.conv1d: 'convolution',
    torch.nn.functional.conv2d: 'convolution',
    torch.nn.functional.conv3d: 'convolution',
    torch.nn.functional.conv_transpose2d: 'transposed convolution',
    torch.nn.functional.linear: 'linear',
}
SPIKING = (SpikeConv2d, SpikeConvTranspose2d, SpikeLinear)
READOUTS = (SpikeReadoutConv2d, SpikeReadoutLinear)
PRODUCTS = {
    torch.matmul,
    torch.mm,
    torch.bmm,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
    torch.Tensor.__rmatmul__,
    torch.Tensor.mm,
    torch.Tensor.bmm,
}


@dataclass
class Operand:
    """What one operation saw over all calls.

    Args:
        name: The module in which it runs.
        operation: A convolution, linear layer or matrix product.
        kind: ``'spikes'`` (0 and 1 alone), ``'integers'`` (counts of spikes), ``'analog'``, or
            ``'silent'`` (0 alone, which proves nothing). Of a product it is the better operand's.
        rate: The mean of what it saw.
        is_first: Whether it is the first convolution, which sees the image.
    """

    name: str
    operation: str
    kind: str
    rate: float
    is_first: bool = False

    @property
    def verdict(self) -> str:
        """``'image'``, or the kind of what was seen."""
        return 'image' if self.is_first else self.kind


class OperandRecorder(TrackedFunctions):
    """Look at the operands of every convolution, linear layer and matrix product of a model.

    It intercepts torch functions, so it also sees unregistered layers and matrix products inside
    methods. A context manager:

        with OperandRecorder(model) as recorder:
            model.test_step(batch)
        recorder.operands

    Args:
        model: A model in evaluation mode, merged by `mmspike.deploy.reparameterize` so that what no
            neuron separates is one layer.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._records: dict[tuple[str, str], Operand] = {}
        path, backbone = find_backbone(model)
        first = next(n for n, m in backbone.named_modules() if isinstance(m, WEIGHT_LAYERS))
        prefix = f'{path}.' if path else ''
        self._first = prefix + first
        last = max(getattr(backbone, 'out_indices', [len(backbone.stages)]))
        self._unused = tuple(
            f'{prefix}{kind}.{i}'
            for kind in ('stages', 'downsamplings')
            for i in range(last + 1, len(backbone.stages))
        )

    @property
    def operands(self) -> list[Operand]:
        """All operations in the order of their first call."""
        return list(self._records.values())

    @property
    def not_run(self) -> list[str]:
        """The weight layers that no forward reached, but for stages behind the last output."""
        ran = {operand.name for operand in self.operands}
        return [
            name
            for name, module in self._model.named_modules()
            if isinstance(module, WEIGHT_LAYERS)
            and name not in ran
            and not name.startswith(self._unused)
        ]

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in LAYERS:
            self._record(LAYERS[func], [args[0] if args else kwargs['input']])
        elif func in PRODUCTS:
            self._record('matrix product', [x for x in (*args, *kwargs.values()) if _is_tensor(x)])
        elif func is torch.einsum:
            operands = args[1] if isinstance(args[1], (list, tuple)) else args[1:]
            self._record('einsum', list(operands))
        return func(*args, **kwargs)

    @torch.no_grad()
    def _record(self, operation: str, operands: Iterable[Tensor]) -> None:
        # The better operand decides of a product: spikes address additions of the other.
        seen = min(((KINDS.index(kind_of(x)), x) for x in operands), key=lambda pair: pair[0])
        kind, x = KINDS[seen[0]], seen[1]
        if not x.numel():  # A head that was given no RoIs.
            return
        name, _ = self.running
        key = name, operation
        rate = float(x.float().mean())
        record = self._records.setdefault(
            key, Operand(name, operation, kind, rate, name == self._first)
        )
        record.kind = max(record.kind, kind, key=KINDS.index)
        record.rate = max(record.rate, rate)


def _is_tensor(x: object) -> bool:
    return isinstance(x, Tensor)


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
        if isinstance(m, SPIKING) and not isinstance(m, READOUTS):
            if m.bias is not None and getattr(m, 'norm', None) is None:
                with torch.no_grad():
                    m.bias.normal_(0.8, 0.8, generator=generator)
    return module


enliven = randomize_norms  # Its name until this release.
