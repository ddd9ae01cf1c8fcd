"""Commands for trained models: inference, pictures of spikes, energy, proof and speed."""

from .inference import Inferencer

__all__ = ['Inferencer']
