"""A feature pyramid whose weight layers see spikes."""

from collections.abc import Sequence

from mmdet.models.necks import FPN
from torch import Tensor, nn

from mmspike.registry import MODELS


@MODELS.register_module()
class SpikeFPN(FPN):
    """mmdet's FPN with a neuron before every convolution.

    The last two stages of Meta-SpikeFormer have the same stride (16). A pyramid needs strides that
    double, so the last input is brought to stride 32 by a max-pooling of its membrane potentials, a
    comparison of analog values without parameters. At T = 1 the neuron behind it fires exactly
    where any of the pooled ones would; at T > 1 it may differ, as each of those would reset by
    itself.

    Args:
        args: As of `mmdet.models.FPN`.
        downsample_last: Halve the last input, so that its stride is twice the one before.
        conv_cfg: Config of the convolutions; a spiking one.
        kwargs: As of `mmdet.models.FPN`.

    Shape:
        - input: a tuple of ``[T*B, C_i, H_i, W_i]``
        - output: a tuple of ``[T*B, out_channels, H_i, W_i]``, `num_outs` levels
    """

    def __init__(
        self,
        *args,
        downsample_last: bool = True,
        conv_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, conv_cfg=conv_cfg or {'type': 'mmspike.SpikeConv2d'}, **kwargs)
        # Windows centred as those of the backbone's 3x3 convolutions of stride 2, and any size
        # rounds up as theirs do.
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if downsample_last else nn.Identity()

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        *rest, last = inputs
        return super().forward((*rest, self.pool(last)))
