"""RoI features at every time step."""

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor

from mmspike.neurons import repeat_rois, unfold
from mmspike.neurons.base import lies_channels_last
from mmspike.registry import MODELS


@MODELS.register_module()
class SpikeRoIExtractor(SingleRoIExtractor):
    """mmdet's single-level RoI extractor, the same RoIs taken from the features of every step.

    mmcv's RoIAlign reads memory as if channels came first, wherever they lie, and has no kernel for
    bfloat16: features are brought into its order, and sampled in single precision.

    Shape:
        - feats: a tuple of ``[T*B, C, H_i, W_i]``
        - rois: ``[N, 5]``
        - output: ``[T*N, C, h, w]``, time-major
    """

    time_steps: int | None = None

    def forward(
        self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        time_steps, batch_size = unfold(feats[0], self.time_steps).shape[:2]
        rois = repeat_rois(rois, time_steps, batch_size)
        dtype = feats[0].dtype
        if dtype == torch.bfloat16:
            feats = [feat.float() for feat in feats]
        feats = [_channels_first(feat) for feat in feats]
        return super().forward(feats, rois, roi_scale_factor).to(dtype)


def _channels_first(feat: Tensor) -> Tensor:
    """Bring a feature into the order of mmcv, and its gradient back into its own."""
    out = feat.contiguous()
    if out.requires_grad and lies_channels_last(feat):
        out.register_hook(lambda grad: grad.contiguous(memory_format=torch.channels_last))
    return out
