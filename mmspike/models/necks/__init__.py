"""Spiking necks, of mmdet."""

from .spike_cspnext_pafpn import SpikeCSPNeXtPAFPN
from .spike_fpn import SpikeFPN

__all__ = ['SpikeCSPNeXtPAFPN', 'SpikeFPN']
