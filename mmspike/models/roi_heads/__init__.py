"""Spiking detection heads on regions of interest, of mmdet."""

from .spike_bbox_head import SpikeShared2FCBBoxHead
from .spike_mask_head import SpikeFCNMaskHead
from .spike_roi_extractor import SpikeRoIExtractor

__all__ = ['SpikeFCNMaskHead', 'SpikeRoIExtractor', 'SpikeShared2FCBBoxHead']
