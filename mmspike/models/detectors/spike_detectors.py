"""Spiking detectors: mmdet's, with one time axis through all their parts."""

from mmdet.models.detectors import FCOS, YOLOX, CascadeRCNN, MaskRCNN, RetinaNet, RTMDet

from mmspike.models.spiking_model import SpikingModel
from mmspike.registry import MODELS


@MODELS.register_module()
class SpikeMaskRCNN(SpikingModel, MaskRCNN):
    """Mask R-CNN that spikes from the backbone to the predictors."""


@MODELS.register_module()
class SpikeCascadeRCNN(SpikingModel, CascadeRCNN):
    """Cascade R-CNN, with masks or without, that spikes from the backbone to the predictors."""


@MODELS.register_module()
class SpikeRetinaNet(SpikingModel, RetinaNet):
    """RetinaNet that spikes from the backbone to the predictors."""


@MODELS.register_module()
class SpikeFCOS(SpikingModel, FCOS):
    """FCOS that spikes from the backbone to the predictors."""


@MODELS.register_module()
class SpikeYOLOX(SpikingModel, YOLOX):
    """YOLOX that spikes from the backbone to the predictors."""


@MODELS.register_module()
class SpikeRTMDet(SpikingModel, RTMDet):
    """RTMDet that spikes from the backbone to the predictors."""
