"""Names that other code imports from here; they live in `mmspike.commands`."""

from mmspike.commands.inferencer import Inferencer

__all__ = ['Inferencer']
