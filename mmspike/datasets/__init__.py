"""Data: generated shapes, and loading that says what is wrong with a file."""

from .shapes import generate_shapes
from .transforms import LoadImageFromFile, LoadSegAnnotations

__all__ = ['LoadImageFromFile', 'LoadSegAnnotations', 'generate_shapes']
