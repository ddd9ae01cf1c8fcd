"""Spiking segmentors, of mmseg."""

from .seg_tta_model import SegTTAModel
from .spike_encoder_decoder import SpikeEncoderDecoder

__all__ = ['SegTTAModel', 'SpikeEncoderDecoder']
