"""Convolutional token mixers: they exchange information between positions."""

from collections import OrderedDict
from typing import Any

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmspike.neurons.compact import compactly
from mmspike.neurons.lif.batch_norm import compact_norm

from .conv_bn import NORM, spike_conv_norm
from .spike_conv import SpikeConv2d


class SepConv(nn.Module):
    """Separable convolution on spikes: pointwise x2, depthwise 7x7, pointwise.

    The token mixer of the paper's Conv-based SNN block (Yao et al., ICLR 2024, section 3).

    Shape:
        - input, output: ``[T*B, C, H, W]``
    """

    bare = ('pointwise2',)
    unmerged = True
    row_names = {'pointwise1': 'SepConv PWConv1', 'depthwise': 'SepConv DWConv&PWConv2'}

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
        x = self.depthwise(self.pointwise1(x))
        with compactly(x):
            x = self.pointwise2(x)
        return compact_norm(x, self.norm(x))


class SpikeSepConv(nn.Sequential):
    """Separable convolution on spikes, a neuron and a norm for each of its three convolutions.

    The convolution of E-SpikeFormer's blocks (Yao et al., TPAMI 2025). Unlike in `SepConv` a neuron
    stands between any two convolutions, so a chip runs it as it is: pointwise, depthwise,
    pointwise.

    Args:
        channels: The number of channels C.
        kernel_size: Of the depthwise convolution.
        ratio: How many times C the channels between are.
        neuron: Config of the neurons; None is the model's.
        norm_cfg: Config of the norms.

    Shape:
        - input, output: ``[T*B, C, H, W]``
    """

    row_names = {
        'pointwise1': 'SepConv PWConv1',
        'depthwise': 'SepConv DWConv',
        'pointwise2': 'SepConv PWConv2',
    }

    def __init__(
        self,
        channels: int,
        kernel_size: int = 7,
        ratio: int = 2,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
    ) -> None:
        hidden = ratio * channels
        options: dict[str, Any] = {'neuron': neuron, 'norm_cfg': norm_cfg}
        super().__init__(
            OrderedDict(
                pointwise1=spike_conv_norm(channels, hidden, **options),
                depthwise=spike_conv_norm(hidden, hidden, kernel_size, groups=hidden, **options),
                pointwise2=spike_conv_norm(hidden, channels, **options),
            )
        )
