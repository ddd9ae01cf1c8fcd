"""Weight layers with a neuron before them: what they multiply is 0 or 1.

Chosen with the switch that OpenMMLab has already,
``conv_cfg=dict(type='mmspike.SpikeConv2d'), act_cfg=None``, they make a stock neck or head spike
with its own weight names and initialization.
"""

from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmspike.mixins import ModuleMixin
from mmspike.neurons import build_neuron, mean_over_time
from mmspike.neurons.compact import compactly, derive, share
from mmspike.registry import MODELS


def is_depthwise(layer: Any) -> bool:
    """Whether a layer convolves each channel by itself."""
    return 1 < getattr(layer, 'groups', 1) == layer.in_channels


def convolve_again(conv: Any, x: Tensor, out: Tensor) -> Tensor:
    """Let the result of a cheap convolution be computed again, if its input can be had again.

    Args:
        conv: The convolution, a depthwise one.
        x: What it multiplied, ``[N, C, H, W]``.
        out: The result, as it came out of `conv`, whose hooks may have changed it.

    Returns:
        The result.
    """
    if out.grad_fn is None or out._version or out.grad_fn.name() != 'ConvolutionBackward0':
        return out
    return derive(lambda x: conv._conv_forward(x, conv.weight.to(x.dtype), conv.bias), x, out)


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
        stock.weight = nn.Parameter(stock.weight * unit)  # Another layer may be tied to the old.

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
        depthwise = is_depthwise(self)
        with compactly(share(x) if depthwise else x):
            out = super().forward(x, *args)
        return convolve_again(self, x, out) if depthwise else out


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
