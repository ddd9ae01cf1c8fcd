"""RTMDet's path aggregation, whose weight layers see spikes."""

from mmdet.models.necks import CSPNeXtPAFPN

from mmspike.layers import SpikingHead
from mmspike.registry import MODELS


@MODELS.register_module()
class SpikeCSPNeXtPAFPN(SpikingHead, CSPNeXtPAFPN):
    """mmdet's CSPNeXtPAFPN with a neuron before every convolution.

    Its blocks have a convolution that `conv_cfg` does not reach, so a spiking one there is not
    enough. Its levels have the strides of the backbone's outputs and must double from one to the
    next; pad images to multiples of the last stride.

    Args: as of `mmdet.models.CSPNeXtPAFPN`.

    Shape:
        - input: a tuple of ``[T*B, C_i, H_i, W_i]``
        - output: a tuple of ``[T*B, out_channels, H_i, W_i]``
    """
