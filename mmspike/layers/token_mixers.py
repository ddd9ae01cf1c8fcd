"""Token mixers of Meta-SpikeFormer: what exchanges information between positions."""

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmspike.errors import UserError
from mmspike.neurons import LIF, build_neuron

from .conv_bn import NORM, spike_conv_norm
from .rep_conv import RepConv
from .spike_conv import SpikeConv2d


class SepConv(nn.Module):
    """Separable convolution on spikes: pointwise x2, depthwise 7x7, pointwise.

    The token mixer of the paper's Conv-based SNN block (Yao et al., ICLR 2024, section 3).

    Shape:
        - input, output: ``[T*B, C, H, W]``
    """

    def __init__(
        self, channels: int, neuron: dict | None = None, norm_cfg: dict | None = None
    ) -> None:
        super().__init__()
        hidden = 2 * channels
        self.pointwise1 = spike_conv_norm(channels, hidden, neuron=neuron, norm_cfg=norm_cfg)
        self.depthwise = SpikeConv2d(
            hidden, hidden, 7, padding=3, groups=hidden, bias=False, neuron=neuron
        )
        self.pointwise2 = nn.Conv2d(hidden, channels, 1, bias=False)
        self.norm = build_norm_layer(norm_cfg or NORM, channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.pointwise2(self.depthwise(self.pointwise1(x))))


class SpikeSelfAttention(nn.Module):
    r"""Spike-driven self-attention, SDSA-3: :math:`\mathrm{SN}_s(Q (K^T V))`.

    The token mixer of the paper's Transformer-based SNN block (Yao et al., ICLR 2024, section 3).

    Q, K and V are spikes. The released models scale the product by 0.125 and fire at 0.5; a
    spike-driven network has no such multiplication, so this fires at 0.5 / 0.125 = 4 on the integer
    sum, the surrogate's slope scaled likewise: same spikes, same gradients. The cost is
    :math:`O(N D^2 / heads)` with N positions and D channels.

    Args:
        channels: The number of channels D.
        num_heads: The number of heads, which divides D.
        neuron: Config of the neurons; None is the model's.
        norm_cfg: Config of the norms.

    Shape:
        - input, output: ``[T*B, C, H, W]``

    Raises:
        UserError: If `num_heads` does not divide `channels`.
    """

    threshold = 0.5
    scale = 0.125

    def __init__(
        self,
        channels: int,
        num_heads: int = 8,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        if channels % num_heads:
            raise UserError(
                f'{channels} channels cannot be divided among {num_heads} attention heads: choose '
                'dims that are multiples of heads.'
            )
        self.num_heads = num_heads
        self.neuron = build_neuron(neuron)
        for name in ('query', 'key', 'value'):
            self.add_module(f'{name}_conv', RepConv(channels, norm_cfg))
            self.add_module(f'{name}_neuron', build_neuron(neuron))
        # The threshold is that of the released, decayed-input form; the paper's is tau times it.
        form = 1.0 if getattr(self.neuron, 'decay_input', True) else self.neuron.tau
        self.attention_neuron = build_neuron(
            neuron, v_threshold=form * self.threshold, input_gain=1 / self.scale
        )
        # A fixed threshold bounds what a count of spikes can do. A ReLU has none: in the ANN twin
        # the sum over positions would grow with the image, so it averages instead; the norms behind
        # it take the factor out at the size of training.
        self.averages = not isinstance(self.attention_neuron, LIF)
        self.proj = RepConv(channels, norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        # n = T*B, h heads, d channels a head, p positions (H*W)
        spikes = self.neuron(x)
        query = self._split(self.query_neuron(self.query_conv(spikes)))
        key = self._split(self.key_neuron(self.key_conv(spikes)))
        value = self._split(self.value_neuron(self.value_conv(spikes)))
        context = value @ key.transpose(-1, -2)  # [n, h, d, d]
        if self.averages:
            context = context / key.shape[-1]
        attention = (context @ query).reshape(x.shape)  # [n, h, d, p] -> [n, C, H, W]
        return self.proj(self.attention_neuron(attention))

    def _split(self, x: Tensor) -> Tensor:
        """Split the channels among the heads, ``[n, C, H, W]`` to ``[n, h, d, p]``."""
        return x.unflatten(1, (self.num_heads, -1)).flatten(3)
