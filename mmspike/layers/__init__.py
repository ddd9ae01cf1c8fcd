"""The operators of Meta-SpikeFormer, and weight layers with a neuron before them."""

from .channel_mlps import ChannelConv, ChannelMLP
from .conv_bn import ConvNorm, spike_conv_norm
from .rep_conv import NormAndPad, RepConv
from .spike_conv import (
    SpikeConv2d,
    SpikeConvTranspose2d,
    SpikeLinear,
    SpikeReadoutConv2d,
    SpikeReadoutLinear,
)
from .spiking_head import SpikingHead, make_spiking
from .token_mixers import SepConv, SpikeSelfAttention

__all__ = [
    'ChannelConv',
    'ChannelMLP',
    'ConvNorm',
    'NormAndPad',
    'RepConv',
    'SepConv',
    'SpikeConv2d',
    'SpikeConvTranspose2d',
    'SpikeLinear',
    'SpikeReadoutConv2d',
    'SpikeReadoutLinear',
    'SpikeSelfAttention',
    'SpikingHead',
    'make_spiking',
    'spike_conv_norm',
]
