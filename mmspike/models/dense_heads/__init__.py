"""Spiking detection heads on whole maps, of mmdet."""

from .spike_dense_heads import SpikeFCOSHead, SpikeRetinaHead, SpikeRTMDetHead, SpikeYOLOXHead
from .spike_rpn_head import SpikeRPNHead

__all__ = ['SpikeFCOSHead', 'SpikeRPNHead', 'SpikeRTMDetHead', 'SpikeRetinaHead', 'SpikeYOLOXHead']
