"""A spiking segmentor: mmseg's, with one time axis through all its parts."""

from mmseg.models.segmentors import EncoderDecoder

from mmspike.models.spiking_model import SpikingModel
from mmspike.registry import MODELS


@MODELS.register_module()
class SpikeEncoderDecoder(SpikingModel, EncoderDecoder):
    """Backbone, neck and heads that spike to the last convolution; the logits are a mean over T."""
