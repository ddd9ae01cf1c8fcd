"""Backbones: Meta-SpikeFormer and E-SpikeFormer."""

from .espikeformer import ESpikeFormer
from .meta_spikeformer import MetaSpikeFormer

__all__ = ['ESpikeFormer', 'MetaSpikeFormer']
