r"""Weights of 8 bits: all numbers of the merged network become dyadic, whole numbers times 2^-f.

For output channel c, with integers q of 8 bits, m of at most 8 significant bits, b and theta:

.. math::
    W_c = q_c\, m_c\, 2^{-20}, \quad B_c = b_c\, 2^{-20}, \quad \Theta = \theta\, 2^{-20}

Spikes are counts, so every membrane potential is a whole number of :math:`2^{-20}`, and sums are
exact in whatever order they are taken: in 32 bits up to :math:`\pm 2048`, in double precision, and
in single precision up to :math:`\pm 16`. A picture comes in units of :math:`2^{-8}`, and the
weights that see it are in :math:`2^{-12}`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmspike.layers import find_bare
from mmspike.neurons import SpikingNeuron

FRACTION_BITS = 20  # Of potentials, biases and thresholds.
PICTURE_BITS = 8  # Of what comes in as real values.
MOST = 127  # The largest weight, of either sign.
SCALE_BITS = 8  # How many bits of a scale are not 0.


def quantize(model: nn.Module, power_of_two: bool = False) -> None:
    """Round the weights of a model to 8 bits, and all else that it adds and compares to 2^-20.

    A weight layer keeps its weights as real numbers, with the values that the integers have, and
    runs as ever; the integers are its buffers `weight_q` (int8, as the weight is shaped) and
    `scale_m` (int32, one for each output channel, in units of ``2**-scale_bits``). A layer that
    sees real values, such as the first convolution, rounds them to 2^-8 before.

    Args:
        model: A merged copy (`mmspike.deploy.reparameterize`), changed in place.
        power_of_two: Let every scale be a power of two, so that it is a shift.
    """
    analog = list(find_bare(model).values())
    for module in model.modules():
        if isinstance(module, (_ConvNd, nn.Linear)):
            _quantize_layer(module, module in analog, power_of_two)
        elif isinstance(module, SpikingNeuron):
            _round_neuron(module)
    for module in analog:
        module.register_forward_pre_hook(_round_input)


def quantize_weight(
    weight: Tensor, scale_bits: int, channel: int = 0, power_of_two: bool = False
) -> tuple[Tensor, Tensor]:
    """Find the integers that stand for weights, symmetric for each output channel.

    Args:
        weight: The weights.
        scale_bits: A scale is a whole number of ``2**-scale_bits``.
        channel: The dimension of the output channels.
        power_of_two: Whether scales are powers of two.

    Returns:
        The weights from -127 to 127, and the scale of each channel, the smallest that lets its
        largest weight be one of them.
    """
    others = [d for d in range(weight.dim()) if d != channel]
    # Double precision has every number here exactly.
    step = weight.double().abs().amax(dim=others) / MOST * 2**scale_bits
    exponent = step.clamp(min=1).log2()
    exponent = exponent.ceil() if power_of_two else (exponent.floor() + 1 - SCALE_BITS).clamp(min=0)
    grain = exponent.exp2()
    scale = (step / grain).ceil().clamp(min=1) * grain
    shape = [-1 if d == channel else 1 for d in range(weight.dim())]
    whole = (weight.double() * 2**scale_bits / scale.view(shape)).round().clamp(-MOST, MOST)
    return whole.to(torch.int8), scale.to(torch.int32)


def _quantize_layer(layer: Any, analog: bool, power_of_two: bool) -> None:
    layer.scale_bits = FRACTION_BITS - PICTURE_BITS if analog else FRACTION_BITS
    channel = 1 if getattr(layer, 'transposed', False) else 0
    whole, scale = quantize_weight(layer.weight, layer.scale_bits, channel, power_of_two)
    layer.register_buffer('weight_q', whole)
    layer.register_buffer('scale_m', scale)
    shape = [-1 if d == channel else 1 for d in range(whole.dim())]
    layer.weight.copy_(whole.double() * scale.view(shape) / 2**layer.scale_bits)
    if layer.bias is not None:
        layer.bias.copy_(_round(layer.bias))


def _round_neuron(neuron: Any) -> None:
    for name in ('v_threshold', 'v_reset'):
        value = getattr(neuron, name, None)
        if isinstance(value, Tensor):
            value.copy_(_round(value))
        elif value is not None:
            setattr(neuron, name, float(_round(torch.tensor(value, dtype=torch.float64))))


def _round_input(layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (_round(args[0], PICTURE_BITS), *args[1:])


def _round(value: Tensor, bits: int = FRACTION_BITS) -> Tensor:
    """Round to whole numbers of ``2**-bits``."""
    return (value * 2**bits).round() / 2**bits


def fraction_bits(value: Tensor | float) -> int | None:
    """Find the unit of numbers: the least b for which all are whole numbers of ``2**-b``.

    Args:
        value: One number, or several.

    Returns:
        b, or None if it would be above 30.
    """
    values = torch.as_tensor(value, dtype=torch.float64)
    return next((b for b in range(31) if bool((values * 2**b).frac().eq(0).all())), None)
