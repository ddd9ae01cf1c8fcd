"""Weight layers with a neuron before them: what they multiply is 0 or 1.

Chosen with the switch that OpenMMLab has already,
``conv_cfg=dict(type='mmspike.SpikeConv2d'), act_cfg=None``, they make a stock neck or head spike
with its own weight names and initialization.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmspike.mixins import ModuleMixin
from mmspike.neurons import SpikingNeuron, build_neuron, mean_over_time
from mmspike.registry import MODELS

_keeping: ContextVar[bool] = ContextVar('keeping', default=True)


@contextmanager
def no_saved_tensors() -> Iterator[None]:
    """Disable the packing of saved spikes, as activation checkpointing needs, which saves nothing.

    Of nested hooks for saved tensors torch calls only the innermost.
    """
    token = _keeping.set(False)
    try:
        yield
    finally:
        _keeping.reset(token)


def pack_saved_spikes(spikes: Tensor, neuron: SpikingNeuron) -> AbstractContextManager:
    """Let autograd keep spikes for the backward pass in a bit or a byte each, and not in four.

    Args:
        spikes: What the neuron fired, saved by what runs inside the context.
        neuron: It knows how its spikes are written down.
    """
    place, shape, dtype = spikes.data_ptr(), spikes.shape, spikes.dtype
    packed = getattr(spikes, 'unpack', None)  # A compiled neuron has them at hand.

    def pack(x: Tensor) -> Tensor | Callable[[], Tensor]:
        if x.data_ptr() != place or x.shape != shape:
            return x
        return partial(neuron.unpack, neuron.pack(x), dtype) if packed is None else packed

    def unpack(x: Tensor | Callable[[], Tensor]) -> Tensor:
        return x if isinstance(x, Tensor) else x()

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def unroll_counts(counts: Tensor, levels: int) -> Tensor:
    """Write counts of spikes as binary sub-steps: a count of s fires in the first s of them.

    Args:
        counts: Whole numbers from 0 to `levels`.
        levels: The number of sub-steps D.

    Shape:
        - counts: ``[T*B, ...]``
        - returns: ``[D, T*B, ...]`` in {0, 1}, whose sum over D is `counts`
    """
    return torch.stack([(counts > d).to(counts.dtype) for d in range(levels)])


class Spiking(ModuleMixin):
    """Mixin: fire the input before the stock layer's forward.

    Args:
        args: The stock layer's arguments.
        neuron: Config of the neuron; None is the model's.
        kwargs: The stock layer's keyword arguments.
    """

    sub_steps = 1  # How many binary steps make one of time, once it is unrolled.
    late_bias: Tensor | None  # Then the bias comes behind their sum.

    def __init__(self, *args: Any, neuron: dict | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.neuron = build_neuron(neuron)

    def fold_unit(self, unit: float) -> None:
        """Let the weights take what a spike is worth, so that they see counts."""
        stock: Any = self
        stock.weight.mul_(unit)

    def unroll(self, levels: int) -> None:
        """Let the weights see binary sub-steps in place of counts from 0 to `levels`."""
        stock: Any = self
        self.sub_steps = levels
        self.late_bias, stock.bias = stock.bias, None

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        x = self.neuron(x)
        if self.sub_steps > 1:
            x = super().forward(unroll_counts(x, self.sub_steps).flatten(0, 1), *args)
            x = x.unflatten(0, (self.sub_steps, -1)).sum(dim=0)
            bias = self.late_bias
            return x if bias is None else x + bias.view(-1, *[1] * (x.dim() - 2))
        saves = self.training and torch.is_grad_enabled() and _keeping.get()
        if not (saves and isinstance(self.neuron, SpikingNeuron)):
            return super().forward(x, *args)
        with pack_saved_spikes(x, self.neuron):
            return super().forward(x, *args)


@MODELS.register_module()
class SpikeConv2d(Spiking, nn.Conv2d):
    """`torch.nn.Conv2d` on spikes; ``[T*B, C, H, W]`` in and out."""


@MODELS.register_module()
class SpikeConvTranspose2d(Spiking, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` on spikes; ``[T*B, C, H, W]`` in and out."""


@MODELS.register_module()
class SpikeLinear(Spiking, nn.Linear):
    """`torch.nn.Linear` on spikes; ``[T*B, C]`` in and out.

    Args:
        args: As of `torch.nn.Linear`.
        norm_cfg: Config of a norm behind it, such as ``dict(type='BN1d')``; the stock heads have no
            place for one.
        kwargs: As of `torch.nn.Linear`, and `neuron`.
    """

    def __init__(self, *args: Any, norm_cfg: dict | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.norm = build_norm_layer(norm_cfg, self.out_features)[1] if norm_cfg else None

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x if self.norm is None else self.norm(x)


class _Readout(ModuleMixin):
    """Mixin: average what the layer puts out over time, as the last step of a head.

    The mean comes after the weights, so that what they multiply stays 0 or 1.
    """

    time_steps: int | None = None

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        return mean_over_time(super().forward(x, *args), self.time_steps)


# mmengine's initializers look for torch's layer among the direct bases.
@MODELS.register_module()
class SpikeReadoutConv2d(_Readout, SpikeConv2d, nn.Conv2d):
    """A convolution that predicts; ``[T*B, C, H, W]`` in, ``[B, C', H', W']`` out."""


@MODELS.register_module()
class SpikeReadoutLinear(_Readout, SpikeLinear, nn.Linear):
    """A linear layer that predicts; ``[T*B, C]`` in, ``[B, C']`` out."""
