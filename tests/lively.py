"""Models that fire: an untrained one in evaluation mode is silent, and silence passes any test."""

from mmspike.analysis.spike_driven import enliven

__all__ = ['enliven']
