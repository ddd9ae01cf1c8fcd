"""Neurons: the time axis, surrogate gradients, dynamics, and the modules that hold them."""

from .build import build_neuron, default_neuron, is_spiking, set_time_steps
from .lif import LIF
from .timefold import (
    check_time_steps,
    fold,
    fold_sequence,
    mean_over_time,
    repeat_rois,
    repeat_time,
    unfold,
)

__all__ = [
    'LIF',
    'build_neuron',
    'check_time_steps',
    'default_neuron',
    'fold',
    'fold_sequence',
    'is_spiking',
    'mean_over_time',
    'repeat_rois',
    'repeat_time',
    'set_time_steps',
    'unfold',
]
