"""Spiking classification heads, of mmpretrain."""

from .spike_linear_cls_head import SpikeDistilledClsHead, SpikeLinearClsHead

__all__ = ['SpikeDistilledClsHead', 'SpikeLinearClsHead']
