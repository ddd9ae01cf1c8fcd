"""A feature pyramid whose weight layers see spikes."""

from typing import Any

from mmdet.models.necks import FPN

from mmspike.registry import MODELS


@MODELS.register_module()
class SpikeFPN(FPN):
    """mmdet's FPN with a neuron before every convolution.

    Its levels have the strides of the backbone's outputs, so let these double from one to the next
    (``out_strides=(4, 8, 16, 32)``). Any other neck that hands its `conv_cfg` to every convolution,
    such as `mmdet.models.PAFPN` or `mmseg.models.FPN`, spikes with the same one.

    Args:
        args: As of `mmdet.models.FPN`.
        conv_cfg: Config of the convolutions; a spiking one.
        kwargs: As of `mmdet.models.FPN`.

    Shape:
        - input: a tuple of ``[T*B, C_i, H_i, W_i]``
        - output: a tuple of ``[T*B, out_channels, H_i, W_i]``, `num_outs` levels
    """

    def __init__(self, *args: Any, conv_cfg: dict | None = None, **kwargs: Any) -> None:
        super().__init__(*args, conv_cfg=conv_cfg or {'type': 'mmspike.SpikeConv2d'}, **kwargs)
