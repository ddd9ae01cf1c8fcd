"""Spiking detectors: mmdet's, with one time axis through all their parts."""

from mmdet.models.detectors import MaskRCNN

from mmspike.models.spiking_model import SpikingModel
from mmspike.registry import MODELS


@MODELS.register_module()
class SpikeMaskRCNN(SpikingModel, MaskRCNN):
    """Mask R-CNN that spikes from the backbone to the predictors."""
