"""Spiking segmentors, of mmseg."""

from .spike_encoder_decoder import SpikeEncoderDecoder

__all__ = ['SpikeEncoderDecoder']
