"""The operators of spike-driven transformers, and weight layers with a neuron before them."""

from .attention import ATTENTIONS, ESDSA, SDSA1, SDSA2, SDSA3, SDSA4
from .channel_mlps import ChannelConv, ChannelMLP
from .conv_bn import ConvNorm, check_norm, spike_conv_norm
from .rep_conv import NormAndPad, RepConv
from .shortcuts import SHORTCUTS, LocalMetaBlock, MetaBlock, take_entry_neuron
from .spike_conv import (
    SpikeConv2d,
    SpikeConvTranspose2d,
    SpikeLinear,
    SpikeReadoutConv2d,
    SpikeReadoutLinear,
)
from .spiking_head import SpikingHead, find_bare, make_spiking
from .token_mixers import SepConv, SpikeSepConv

SpikeSelfAttention = SDSA3  # Its name until this release.

__all__ = [
    'ATTENTIONS',
    'ESDSA',
    'SDSA1',
    'SDSA2',
    'SDSA4',
    'SHORTCUTS',
    'ChannelConv',
    'ChannelMLP',
    'ConvNorm',
    'LocalMetaBlock',
    'MetaBlock',
    'NormAndPad',
    'RepConv',
    'SepConv',
    'SpikeConv2d',
    'SpikeConvTranspose2d',
    'SpikeLinear',
    'SpikeReadoutConv2d',
    'SpikeReadoutLinear',
    'SpikeSepConv',
    'SDSA3',
    'SpikingHead',
    'check_norm',
    'find_bare',
    'make_spiking',
    'spike_conv_norm',
    'take_entry_neuron',
]
