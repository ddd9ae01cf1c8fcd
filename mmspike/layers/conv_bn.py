"""A spiking convolution and its norm, the unit that the paper's operators are made of."""

from typing import Any

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmspike.errors import UserError
from mmspike.neurons.lif.batch_norm import compact_norm
from mmspike.registry import MODELS

from .spike_conv import SpikeConv2d

NORM = {'type': 'BN'}
WITHOUT_STATISTICS = (nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm)


def check_norm(norm_cfg: dict | None) -> None:
    """Check that a norm keeps the running statistics of which `NormAndPad` makes its border.

    Raises:
        UserError: If it keeps none, or the config has no type.
    """
    kind = (norm_cfg or NORM).get('type')
    norm = MODELS.get(kind) if isinstance(kind, str) else kind
    if kind is None or (isinstance(norm, type) and issubclass(norm, WITHOUT_STATISTICS)):
        raise UserError(
            f'norm_cfg is {norm_cfg}, but its type must be a norm that keeps running statistics: '
            "'BN' or 'SyncBN'."
        )


class ConvNorm(nn.Sequential):
    """A convolution, then its norm.

    mmcv's ConvModule warns of the bias that the released models have before their norms.

    Shape:
        - input: ``[T*B, C, H, W]``
        - output: ``[T*B, C', H', W']``, as the convolution makes them
    """

    def __init__(self, conv: nn.Module, norm_cfg: dict | None = None) -> None:
        super().__init__()
        self.conv = conv
        self.norm = build_norm_layer(norm_cfg or NORM, conv.out_channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return compact_norm(x, self.norm(x))


def spike_conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    *,
    neuron: dict | None = None,
    norm_cfg: dict | None = None,
    bias: bool = False,
    **kwargs: Any,
) -> ConvNorm:
    """Build a neuron, a convolution that keeps the size at stride 1, and a norm."""
    conv = SpikeConv2d(
        in_channels,
        out_channels,
        kernel_size,
        padding=kernel_size // 2,
        bias=bias,
        neuron=neuron,
        **kwargs,
    )
    return ConvNorm(conv, norm_cfg)
