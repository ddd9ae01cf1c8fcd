"""Convolutions of spikes in integers of 8 bits on a CPU: counts are exact, only weights round."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from mmspike.errors import UserError
from mmspike.layers import SDSA3
from mmspike.layers.spike_conv import Spiking
from mmspike.neurons import SpikingNeuron

from .int8 import FRACTION_BITS, MOST, quantize_weight
from .plain_weights import runs_as_torch
from .unroll import in_front_of_weights

MOST_IN_A_BYTE = 255
MOST_IN_PAIRS = (2**15 - 1) // (2 * MOST)  # 129: two products fit 16 bits with a sign.


class Int8Convolution:
    """What a convolution of counts computes, by oneDNN: 8 bits times 8 bits, summed in 32.

    Nothing is calibrated: what it multiplies with are counts of spikes, which fit a byte as they
    are. On CPUs with VNNI (AVX-512 or AVX) one instruction does four products.

    Args:
        conv: One that `can_compute` tells of, which gets the weights that it now has as real
            numbers too.
    """

    def __init__(self, conv: Any) -> None:
        whole, scale = quantize_weight(conv.weight, FRACTION_BITS)
        self.scale = scale.float() / 2**FRACTION_BITS
        conv.weight.copy_(whole * self.scale.view(-1, 1, 1, 1))
        self.zero = torch.zeros_like(scale)
        padding = conv._reversed_padding_repeated_twice[::-2]  # In numbers, also of 'same'.
        self.geometry = [list(conv.stride), padding, list(conv.dilation), conv.groups]
        self.weight = torch.ops.onednn.qconv_prepack(whole, self.scale, 1.0, 0, *self.geometry)

    def __call__(self, spikes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve ``[T*B, C, H, W]``; in the place of a convolution's `_conv_forward`."""
        bias = None if bias is None else bias.float()
        weights = self.weight, self.scale, self.zero, bias
        unscaled = 1.0, 0, torch.float32, 'none', [None], None
        sums = torch.ops.onednn.qconv2d_pointwise(
            spikes.to(torch.uint8), 1.0, 0, *weights, *self.geometry, *unscaled
        )
        return sums.to(weight.dtype)

    def __deepcopy__(self, memo: dict) -> 'Int8Convolution':
        return self  # oneDNN's weights cannot be copied, and do not change.


def can_compute(conv: Any, largest: int) -> bool:
    """Tell whether the kernel is exact for a layer: all it rounds are weights.

    Args:
        conv: The layer.
        largest: The largest count that it can see.
    """
    if not isinstance(conv, nn.Conv2d) or not runs_as_torch(conv) or conv.padding_mode != 'zeros':
        return False
    padding = conv._reversed_padding_repeated_twice
    return (
        padding[::2] == padding[1::2]  # An even kernel of padding 'same' pads one side more.
        and largest <= (MOST_IN_PAIRS if pairs_saturate() else MOST_IN_A_BYTE)
        and largest * MOST * conv.weight[0].numel() < 2**31
    )


@cache
def pairs_saturate() -> bool:
    """Try whether this CPU adds two products in 16 bits, as those without VNNI do."""
    conv = nn.Conv2d(16, 16, 1, bias=False)
    nn.init.constant_(conv.weight, 1.0)
    with torch.no_grad():
        counts = torch.full((1, 16, 8, 8), float(MOST_IN_A_BYTE))
        sums = Int8Convolution(conv)(counts, conv.weight, None)
        return not torch.allclose(sums, conv(counts), rtol=1e-3)


def use_int8_kernels(model: nn.Module) -> None:
    """Let the convolutions of a model that see counts of spikes compute in 8 bits.

    Those of which no largest count is known stay as they are (behind sums of SEW blocks or a gate,
    or at real values), and so do those for which the kernel is not exact, and linear layers.

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
    takers = _find_takers(model)
    for neuron, convs in takers.items():
        for conv in convs:
            if can_compute(conv, neuron.levels) and '_conv_forward' not in vars(conv):
                conv._conv_forward = Int8Convolution(conv)
    weighed = in_front_of_weights(model)
    for neuron, convs in takers.items():
        exact = all(isinstance(vars(c).get('_conv_forward'), Int8Convolution) for c in convs)
        neuron.in_bytes = exact and neuron in weighed


def _find_takers(model: nn.Module) -> dict[Any, list[Any]]:
    """Find the layers that take the counts of each neuron."""
    takers: dict[Any, list[Any]] = {}
    for module in model.modules():
        if isinstance(module, SDSA3):
            convs = [getattr(module, f'{name}_conv') for name in module.operands]
            takers.setdefault(module.neuron, []).extend(convs)
            for name in module.operands:  # They go into products.
                takers.setdefault(getattr(module, f'{name}_neuron'), []).append(module)
            gates = module.factors < len(module.operands)  # Then a product of counts comes.
            takers.setdefault(module.attention_neuron, []).append(module if gates else module.proj)
        elif isinstance(module, Spiking):
            takers.setdefault(module.neuron, []).append(module)
    return {neuron: convs for neuron, convs in takers.items() if isinstance(neuron, SpikingNeuron)}
