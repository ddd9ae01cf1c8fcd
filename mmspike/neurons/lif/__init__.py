"""The LIF neuron: its equations, and what runs them (plain loop, C++, torch.compile)."""

from .neuron import LIF
from .plif import PLIF

__all__ = ['LIF', 'PLIF']
