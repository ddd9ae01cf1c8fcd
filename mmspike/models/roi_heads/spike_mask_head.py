"""A mask head on spikes."""

from mmdet.models.roi_heads.mask_heads import FCNMaskHead

from mmspike.layers import SpikingHead
from mmspike.registry import MODELS


@MODELS.register_module()
class SpikeFCNMaskHead(SpikingHead, FCNMaskHead):
    """mmdet's mask head, a neuron before every layer, averaged over time at its end.

    Args: as of `mmdet.models.FCNMaskHead`.

    Shape:
        - input: ``[T*N, C, h, w]`` RoI features
        - output: mask logits ``[N, num_classes, 2h, 2w]``
    """

    readouts = ('conv_logits',)
