"""Test-time augmentation of segmentors, also of those with one output."""

from typing import Any

import torch
from mmseg.models import segmentors

from mmspike.registry import MODELS


@MODELS.register_module()
class SegTTAModel(segmentors.SegTTAModel):
    """`mmseg.models.SegTTAModel`, which takes a second sigmoid of a single output."""

    def merge_preds(self, data_samples_list: list[list[Any]]) -> list[Any]:
        """Merge the predictions of the views of each picture.

        Args:
            data_samples_list: For each picture the data samples of its views.
        """
        if self.module.out_channels == 1:
            for sample in (sample for views in data_samples_list for sample in views):
                # What the segmentor hands out as logits are probabilities already.
                sample.seg_logits.data = torch.logit(sample.seg_logits.data)
        return super().merge_preds(data_samples_list)
