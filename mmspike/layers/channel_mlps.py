"""Channel mixers of Meta-SpikeFormer: the second half of a block."""

from typing import Any

from torch import nn

from .conv_bn import spike_conv_norm


class ChannelConv(nn.Sequential):
    """Two 3x3 convolutions on spikes, x4 and back, of the paper's Conv-based SNN block.

    Shape:
        - input, output: ``[T*B, C, H, W]``
    """

    row_names = {'0': 'ChannelConv Conv1', '1': 'ChannelConv Conv2'}

    def __init__(
        self, channels: int, neuron: dict | None = None, norm_cfg: dict | None = None
    ) -> None:
        options: dict[str, Any] = {'kernel_size': 3, 'neuron': neuron, 'norm_cfg': norm_cfg}
        super().__init__(
            spike_conv_norm(channels, 4 * channels, **options),
            spike_conv_norm(4 * channels, channels, **options),
        )


class ChannelMLP(nn.Sequential):
    """Two linear layers on spikes, x4 and back, of the paper's Transformer-based SNN block.

    Args:
        channels: The number of channels C.
        neuron: Config of the neurons; None is the model's.
        norm_cfg: Config of the norms.
        bias: Give the linear layers a bias, as the released models do.

    Shape:
        - input, output: ``[T*B, C, H, W]``
    """

    row_names = {'0': 'ChannelMLP Linear1', '1': 'ChannelMLP Linear2'}

    def __init__(
        self,
        channels: int,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
        bias: bool = True,
    ) -> None:
        options: dict[str, Any] = {'bias': bias, 'neuron': neuron, 'norm_cfg': norm_cfg}
        super().__init__(
            spike_conv_norm(channels, 4 * channels, **options),
            spike_conv_norm(4 * channels, channels, **options),
        )
