"""Convolutions of spikes in integers of 8 bits on a CPU: counts are exact, only weights round."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmspike.errors import UserError
from mmspike.layers import SDSA3, find_bare
from mmspike.layers.spike_conv import Spiking
from mmspike.neurons import SpikingNeuron

from .int8 import FRACTION_BITS, quantize_weight


class Int8Convolution:
    """What a convolution of counts computes, by oneDNN: 8 bits times 8 bits, summed in 32.

    Nothing is calibrated: what it multiplies with are counts of spikes, which fit a byte as they
    are. On CPUs with VNNI (AVX-512 or AVX) one instruction does four products.

    Args:
        conv: The convolution, which gets the weights that it now has as real numbers too.
    """

    def __init__(self, conv: Any) -> None:
        whole, scale = quantize_weight(conv.weight, FRACTION_BITS)
        self.scale = scale.float() / 2**FRACTION_BITS
        conv.weight.copy_(whole * self.scale.view(-1, 1, 1, 1))
        self.zero = torch.zeros_like(scale)
        self.geometry = [list(conv.stride), list(conv.padding), list(conv.dilation), conv.groups]
        self.weight = torch.ops.onednn.qconv_prepack(whole, self.scale, 1.0, 0, *self.geometry)

    def __call__(self, spikes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve ``[T*B, C, H, W]``; in the place of a convolution's `_conv_forward`."""
        weights = self.weight, self.scale, self.zero, bias
        unscaled = 1.0, 0, torch.float32, 'none', [None], None
        return torch.ops.onednn.qconv2d_pointwise(
            spikes.to(torch.uint8), 1.0, 0, *weights, *self.geometry, *unscaled
        )

    def __deepcopy__(self, memo: dict) -> 'Int8Convolution':
        return self  # oneDNN's weights cannot be copied, and do not change.


def use_int8_kernels(model: nn.Module) -> None:
    """Let the convolutions of a model that see spikes compute in 8 bits.

    Those that see real values, and linear layers, stay as they are.

    Args:
        model: A merged copy on a CPU whose neurons fire counts, changed in place.

    Raises:
        UserError: If the model is elsewhere, or torch is built without oneDNN.
    """
    device = next(model.parameters()).device.type
    if device != 'cpu' or not torch.backends.mkldnn.is_available():
        where = f'on {device}' if device != 'cpu' else 'in a torch without oneDNN'
        raise UserError(
            f"the form 'fast-int8' is made for CPUs, by oneDNN, but the model is {where}; use "
            "'fast' there."
        )
    attentions = [module for module in model.modules() if isinstance(module, SDSA3)]
    # Those behind a gate, of SDSA-1 and 2, see products of counts.
    others = [*find_bare(model).values(), *(m.proj for m in attentions if _gates(m))]
    module: Any
    for module in model.modules():
        planar = isinstance(module, _ConvNd) and module.weight.dim() == 4
        if planar and not module.transposed and module not in others:
            module._conv_forward = Int8Convolution(module)
    for module in model.modules():
        if isinstance(module, SDSA3):
            _hand_on_bytes(module.neuron, [getattr(module, f'{n}_conv') for n in module.operands])
            if not _gates(module):
                _hand_on_bytes(module.attention_neuron, [module.proj])
        elif isinstance(module, Spiking):
            _hand_on_bytes(module.neuron, [module])


def _gates(attention: SDSA3) -> bool:
    return attention.factors < len(attention.operands)


def _hand_on_bytes(neuron: nn.Module, convs: Iterable[nn.Module]) -> None:
    """Let a neuron write bytes if all that takes its spikes multiplies in 8 bits."""
    integer = all(isinstance(vars(conv).get('_conv_forward'), Int8Convolution) for conv in convs)
    if integer and isinstance(neuron, SpikingNeuron):
        neuron.in_bytes = True
