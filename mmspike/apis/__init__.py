"""Commands for trained models: inference, pictures of spikes, energy, proof and speed."""

from mmspike.commands.inferencer import Inferencer

__all__ = ['Inferencer']
