"""Segmentation heads on spikes: mmseg's, averaged over time at their end."""

from typing import Any

from mmseg.models.decode_heads import FCNHead, FPNHead, UPerHead

from mmspike.layers import SpikingHead
from mmspike.registry import MODELS


class SpikeDecodeHead(SpikingHead):
    """Mixin before a decode head of mmseg: a neuron before every layer, `conv_seg` included.

    The stock dropout before `conv_seg` sees time as part of the batch: it drops other channels at
    every step.

    Args:
        args: As of the stock head.
        init_cfg: Initialization; Xavier for every convolution by default.
        kwargs: As of the stock head.

    Shape:
        - input: a tuple of ``[T*B, C_i, H_i, W_i]``
        - output: logits ``[B, num_classes, H, W]``
    """

    readouts = ('conv_seg',)

    def __init__(
        self, *args: Any, init_cfg: dict | list[dict] | None = None, **kwargs: Any
    ) -> None:
        xavier = {'type': 'Xavier', 'layer': 'Conv2d', 'distribution': 'uniform'}
        super().__init__(*args, init_cfg=init_cfg or xavier, **kwargs)


@MODELS.register_module()
class SpikeFPNHead(SpikeDecodeHead, FPNHead):
    """The head of Semantic FPN on spikes."""


@MODELS.register_module()
class SpikeUPerHead(SpikeDecodeHead, UPerHead):
    """The head of UPerNet on spikes; its pyramid pooling averages membrane potentials."""


@MODELS.register_module()
class SpikeFCNHead(SpikeDecodeHead, FCNHead):
    """The head of FCN on spikes, also an auxiliary one."""
