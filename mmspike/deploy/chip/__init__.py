"""A network for chip builders: its graph, its integers, and the spikes of every layer."""

from .export_chip import export_chip

__all__ = ['export_chip']
