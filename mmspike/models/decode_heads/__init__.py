"""Spiking segmentation heads, of mmseg."""

from .spike_decode_heads import SpikeFCNHead, SpikeFPNHead, SpikeUPerHead

__all__ = ['SpikeFCNHead', 'SpikeFPNHead', 'SpikeUPerHead']
