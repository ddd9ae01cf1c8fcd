"""Spiking detectors, of mmdet."""

from .spike_detectors import SpikeCascadeRCNN, SpikeFCOS, SpikeMaskRCNN, SpikeRetinaNet

__all__ = ['SpikeCascadeRCNN', 'SpikeFCOS', 'SpikeMaskRCNN', 'SpikeRetinaNet']
