"""Neurons: the time axis, surrogate gradients, dynamics, and the modules that hold them."""

from .base import SpikingNeuron
from .build import (
    build_neuron,
    default_neuron,
    find_neurons,
    find_time_steps,
    is_spiking,
    name_neurons,
    neuron_constants,
    set_time_steps,
    warn_of_other_neurons,
)
from .integer import ILIF, NILIF
from .lif import LIF, PLIF
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
    'ILIF',
    'LIF',
    'NILIF',
    'PLIF',
    'SpikingNeuron',
    'build_neuron',
    'check_time_steps',
    'default_neuron',
    'find_neurons',
    'find_time_steps',
    'fold',
    'fold_sequence',
    'is_spiking',
    'mean_over_time',
    'name_neurons',
    'neuron_constants',
    'repeat_rois',
    'repeat_time',
    'set_time_steps',
    'unfold',
    'warn_of_other_neurons',
]
