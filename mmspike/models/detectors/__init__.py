"""Spiking detectors, of mmdet."""

from .spike_detectors import (
    SpikeCascadeRCNN,
    SpikeFCOS,
    SpikeMaskRCNN,
    SpikeRetinaNet,
    SpikeRTMDet,
    SpikeYOLOX,
)

__all__ = [
    'SpikeCascadeRCNN',
    'SpikeFCOS',
    'SpikeMaskRCNN',
    'SpikeRTMDet',
    'SpikeRetinaNet',
    'SpikeYOLOX',
]
