"""mmseg's cross entropy, with class weights where pixels are ignored."""

from typing import Any

from mmseg.models import losses
from torch import Tensor

from mmspike.registry import MODELS


@MODELS.register_module()
class CrossEntropyLoss(losses.CrossEntropyLoss):
    """`mmseg.models.losses.CrossEntropyLoss`, also where pixels are ignored and classes weighed.

    OpenMMLab's own mmseg 1.2.2 looks the weight of an ignored pixel up and ends in an IndexError;
    OneDL's averages over the weights of the other pixels, and so does this.

    Shape:
        - cls_score: ``[B, C, H, W]``
        - label: ``[B, H, W]``
    """

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
        reduction_override: str | None = None,
        ignore_index: int = -100,
        **kwargs: Any,
    ) -> Tensor:
        reduction = reduction_override or self.reduction
        weighs = self.class_weight is not None and not (self.use_sigmoid or self.use_mask)
        if weighs and avg_factor is None and reduction == 'mean':
            seen = label[label != ignore_index]
            avg_factor = cls_score.new_tensor(self.class_weight)[seen].sum()
        return super().forward(
            cls_score, label, weight, avg_factor, reduction_override, ignore_index, **kwargs
        )
