"""Spike-driven self-attention (SDSA), the token mixer of transformer blocks."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from mmspike.errors import UserError
from mmspike.neurons import SpikingNeuron, build_neuron, is_spiking
from mmspike.neurons.base import lies_channels_last
from mmspike.neurons.compact import compactly, derive
from mmspike.neurons.surrogate import leaves_torch

from .conv_bn import ConvNorm
from .rep_conv import RepConv
from .spike_conv import unroll_counts
from .spiking_head import spiking_form

# The paper's numbers of the RepConvs that make the operands.
REP_CONVS = {'query': '1', 'key': '2', 'value': '3'}


class SDSA3(nn.Module):
    r"""Spike-driven self-attention, SDSA-3: :math:`\mathrm{SN}_s(Q (K^T V))`.

    The token mixer of the paper's Transformer-based SNN block (Yao et al., ICLR 2024, eq. 15 and
    17-20, which give all four SDSA).

    Q, K and V are spikes, of a RepConv each. :math:`\mathrm{SN}_s` fires at :math:`s\,u_{th}`, in
    place of a multiplication. The released models scale the product by 0.125 and fire at 0.5, so s
    is 8 and the threshold 4 on the integer sum, the surrogate's slope scaled likewise: same spikes,
    same gradients. The cost is :math:`O(N D^2 / heads)` with N positions and D channels.

    Args:
        channels: The number of channels D.
        num_heads: The number of heads, which divides D.
        neuron: Config of the neurons; None is the model's.
        norm_cfg: Config of the norms.
        linear_qkv: Make Q, K and V (RepConv-1, 2 and 3 of the paper) with a linear layer and a norm
            each, in place of RepConv.
        linear_proj: Likewise for the projection behind them (RepConv-4).
        positions: The number of positions at which the threshold is as said. A sum over N of them
            then fires at N / positions times that, so that a larger picture does not fire more: one
            threshold a picture. None, as the released models, has the same threshold at all sizes.

    Shape:
        - input, output: ``[T*B, C, H, W]``

    Raises:
        UserError: If `num_heads` does not divide `channels`, or a spiking neuron takes no
            `v_threshold` or `input_gain`, with which it fires on counts.
    """

    bare = ('query_conv', 'key_conv', 'value_conv', 'proj')  # Their neurons are its own.
    operands: tuple[str, ...] = ('query', 'key', 'value')
    threshold = 0.5
    scale = 0.125
    value_ratio = 1  # How many times as wide V is.
    factors = 3  # How many operands are multiplied before the sums fire.
    sub_steps = 1  # How many binary steps make one of time, once it is unrolled.
    learnable_threshold = False

    def __init__(
        self,
        channels: int,
        num_heads: int = 8,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
        linear_qkv: bool = False,
        linear_proj: bool = False,
        positions: int | None = None,
    ) -> None:
        super().__init__()
        self.positions = positions
        if channels % num_heads:
            raise UserError(
                f'{channels} channels cannot be divided among {num_heads} attention heads: choose '
                'dims that are multiples of heads.'
            )
        self.channels, self.num_heads = channels, num_heads
        self.neuron = build_neuron(neuron)
        for name in self.operands:
            wide = self.value_ratio * channels if name == 'value' else channels
            self.add_module(f'{name}_conv', _projection(channels, wide, norm_cfg, linear_qkv))
            self.add_module(f'{name}_neuron', build_neuron(neuron))
        # The threshold is that of the released, decayed-input form; the paper's is tau times it.
        own: Any = self.neuron
        threshold, full = self.threshold, 1.0
        if isinstance(own, SpikingNeuron):
            threshold, full = own.threshold_on_sums(threshold), own.levels * own.unit
        learnable = {'learnable_threshold': True} if self.learnable_threshold else {}
        # Integers count as shares of the most that they can be: a binary neuron's full spike is 1.
        self.attention_neuron = build_neuron(
            neuron,
            v_threshold=threshold,
            input_gain=full**self.factors / self._scale_for(channels // num_heads),
            **learnable,
        )
        # A fixed threshold bounds what a count of spikes can do. A ReLU has none: in the ANN twin
        # the sum over positions would grow with the image, so it averages instead; the norms behind
        # it take the factor out at the size of training.
        self.averages = not is_spiking(self.attention_neuron)
        wide = self.value_ratio * channels
        self.proj = _projection(wide, channels, norm_cfg, linear_proj)
        # The rows of the paper's table 11; Q, K and V are made of the same spikes, and share one.
        numbers = '/'.join(REP_CONVS[name] for name in self.operands)
        qkv, proj = ('Linear' if linear else 'RepConv' for linear in (linear_qkv, linear_proj))
        self.row_names = {
            **{f'{name}_conv': f'SDSA {qkv}-{numbers}' for name in self.operands},
            **{f'{name}_neuron': f'SDSA {name[0].upper()}' for name in self.operands},
            'proj': f'SDSA {proj}-4',
        }

    def _scale_for(self, head_channels: int) -> float:
        """The factor of the product at so many channels of Q in a head."""
        return self.scale

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron(x)
        operands = []
        for name in self.operands:
            conv, neuron = getattr(self, f'{name}_conv'), getattr(self, f'{name}_neuron')
            operands.append(neuron(conv(spikes)))
        out, dtype = self.attend(*operands), operands[0].dtype
        if out.is_floating_point() and out.dtype != dtype:  # Summed in single precision.
            out = derive(lambda x: x.to(dtype), out)
        return self.proj(out)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Mix the positions of spikes, ``[T*B, C, H, W]``; the result is as wide as V.

        Counts are summed in single precision at least: in half, sums overflow or round.
        """
        # n = T*B, h heads, d channels a head, p positions (H*W); [n*h, d, p], and K transposed
        shape = value.shape
        # In the order of the operands: the convolution behind would else copy spikes, unpacked.
        order = torch.channels_last if lies_channels_last(value) else torch.contiguous_format
        query, value = (derive(self._split, x) for x in (query, value))
        key = derive(lambda x: self._split(x).transpose(-1, -2).contiguous(), key)
        if self.sub_steps > 1:
            # The products see the binary sub-steps of K, then of Q: they select what is added.
            key = unroll_counts(key, self.sub_steps)  # [D, n, h, d, p]
            query = unroll_counts(query, self.sub_steps)
            with self._without_autocast(key):
                context = (value @ key).sum(dim=0)
                attention = (context @ query).sum(dim=0).reshape(shape)
            return self._fire(attention.contiguous(memory_format=order), shape)
        with compactly(query, key, value), self._without_autocast(key):
            context = value @ key  # [n*h, d of V, d]
            if self.averages:
                context = context / key.shape[-2]
            attention = context @ query
        return self._fire(attention.reshape(shape).contiguous(memory_format=order), shape)

    def _fire(self, sums: Tensor, shape: Sequence[int]) -> Tensor:
        """Fire on sums over the positions of ``[T*B, C, H, W]``, at their threshold."""
        if self.positions is not None and not self.averages:
            # The sums take the factor, and not the neuron's threshold: same spikes.
            sums = sums * (self.positions / math.prod(shape[-2:]))
        return self.attention_neuron(sums)

    def _in_single(self, counts: Tensor) -> Tensor:
        """Give counts in a precision in which their products and sums do not overflow."""
        half = counts.dtype in (torch.float16, torch.bfloat16)
        return counts.float() if half and not self.averages else counts

    def _without_autocast(self, x: Tensor) -> AbstractContextManager:
        """Let products of counts be as precise as they are given; an export knows no autocast."""
        if self.averages or leaves_torch() or x.device.type == 'meta':
            return nullcontext()
        return torch.autocast(x.device.type, enabled=False)

    def fold_units(self) -> None:
        """Let the neurons hand on counts: the weights behind take what a spike is worth.

        The convolutions must be merged. The sums of products then fire at as much more.
        """
        own: Any = self.neuron
        fires: Any = self.attention_neuron
        unit, gates = own.unit, len(self.operands) - self.factors
        for conv in {getattr(self, f'{name}_conv') for name in self.operands}:
            conv.weight.mul_(unit)
        for name in self.operands:
            getattr(self, f'{name}_neuron').unit = 1.0
        weight: Any = self.proj.weight
        weight.mul_(fires.unit * unit**gates)
        if isinstance(fires.v_threshold, nn.Parameter):
            fires.v_threshold.div_(unit**self.factors)
        else:
            fires.v_threshold /= unit**self.factors
        own.unit = fires.unit = 1.0

    def unroll(self) -> None:
        """Let convolutions and products see binary sub-steps in place of counts."""
        own: Any = self.neuron
        fires: Any = self.attention_neuron
        self.sub_steps = own.levels
        levels = dict.fromkeys((f'{name}_conv' for name in self.operands), own.levels)
        # A gate lets counts through as often as it fires.
        levels['proj'] = fires.levels * own.levels ** (len(self.operands) - self.factors)
        for name, most in levels.items():
            merged = getattr(self, name)
            conv = spiking_form(merged)
            conv.neuron = nn.Identity()  # What it is given are spikes.
            if hasattr(merged, 'unmerged_weights'):
                conv.unmerged_weights = merged.unmerged_weights
            conv.unroll(most)
            setattr(self, name, conv)

    def _split(self, x: Tensor) -> Tensor:
        """Split the channels among the heads, ``[n, C, H, W]`` to ``[n*h, d, p]``."""
        x = self._in_single(x).unflatten(1, (self.num_heads, -1))
        return x.flatten(3).flatten(0, 1).contiguous()

    def operand_macs(self, operand: Tensor) -> int:
        """Count the multiply-accumulates that an operand ``[T*B, C, H, W]`` takes part in.

        They are N D^2 / heads for each sample and operand, times what V is wider, which the
        operand's rate of firing turns into additions (the paper's table 6); N D in SDSA-1 and 2.
        """
        positions = operand.numel() // operand.shape[1]
        return positions * self.channels**2 * self.value_ratio // self.num_heads


class _ChannelGate(SDSA3):
    """Let whole channels of one operand through, or not, by a count of spikes over positions.

    The equations have a plain SN, with no s. It fires at 0.5 on the count, as SDSA-1 does in the
    released code of the first version (Spike-driven Transformer, NeurIPS 2023).
    """

    scale = 1.0

    def _gate(self, x: Tensor) -> Tensor:
        """Fire on the sum over positions, ``[T*B, C, H, W]`` to ``[T*B, C, 1, 1]``."""
        pool = Tensor.mean if self.averages else Tensor.sum
        return self._fire(pool(x, (-1, -2), keepdim=True), x.shape)

    def operand_macs(self, operand: Tensor) -> int:
        return operand.numel()


class SDSA1(_ChannelGate):
    r"""SDSA-1: :math:`Q \otimes \mathrm{SN}(\mathrm{SUM}_c(K \otimes V))`.

    The operator of Spike-driven Transformer (Yao et al., NeurIPS 2023): the elementwise product of
    K and V is summed over the positions (a column of the ``N x D`` matrix), and each channel whose
    sum fires lets its part of Q through. The cost is :math:`O(N D)`; heads make no difference.

    Arguments, shapes and errors are those of `SDSA3`.
    """

    factors = 2

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return query * self._gate(self._in_single(key) * value)


class SDSA2(_ChannelGate):
    r"""SDSA-2: :math:`\mathrm{SN}(\mathrm{SUM}_c(Q)) \otimes V`, without K and its RepConv-2.

    Q is summed over the positions, and each channel whose sum fires lets its part of V through. The
    cost is :math:`O(N D)`; heads make no difference.

    Arguments, shapes and errors are those of `SDSA3`.
    """

    operands = ('query', 'value')
    factors = 1

    # Two operands, as it says above.
    def attend(self, query: Tensor, value: Tensor) -> Tensor:  # type: ignore[override]
        return self._gate(self._in_single(query)) * value


class SDSA4(SDSA3):
    r"""SDSA-4: SDSA-3 with a learned threshold, one a layer, which starts at :math:`s\,u_{th}`.

    Arguments, shapes, cost and errors are those of `SDSA3`.
    """

    learnable_threshold = True


class ESDSA(SDSA3):
    r"""The attention of E-SpikeFormer: :math:`\mathrm{SN}(2 / \sqrt{d}\,(Q K^T) V)`, V wider.

    Spike-driven Transformer V3 (Yao et al., TPAMI 2025). It is SDSA-3 with linear layers for Q, K,
    V and the projection, V four times as wide, and a scale that follows d, the channels of Q in a
    head. The product of K and V comes first, so the cost is linear in the positions.

    Args:
        channels: The number of channels C of the input, Q and K.
        num_heads: The number of heads, which divides C.
        neuron: Config of the neurons; None is the model's.
        norm_cfg: Config of the norms.

    Shape:
        - input, output: ``[T*B, C, H, W]``

    Raises:
        UserError: As of `SDSA3`.
    """

    value_ratio = 4

    def __init__(
        self,
        channels: int,
        num_heads: int = 8,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__(channels, num_heads, neuron, norm_cfg, linear_qkv=True, linear_proj=True)
        # One linear layer each.
        self.row_names = {
            **{f'{name}_conv': 'ESDSA Linear Q/K/V' for name in self.operands},
            **{f'{name}_neuron': f'ESDSA {name[0].upper()}' for name in self.operands},
            'proj': 'ESDSA Linear',
        }

    def _scale_for(self, head_channels: int) -> float:
        return 2 / math.sqrt(head_channels)


ATTENTIONS = {'sdsa3': SDSA3, 'sdsa1': SDSA1, 'sdsa2': SDSA2, 'sdsa4': SDSA4}


def _projection(channels: int, out_channels: int, norm_cfg: dict | None, linear: bool) -> nn.Module:
    if not linear:
        return RepConv(channels, norm_cfg)
    return ConvNorm(nn.Conv2d(channels, out_channels, 1, bias=False), norm_cfg)
