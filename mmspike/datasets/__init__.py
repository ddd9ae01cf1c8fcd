"""Data: generated sets, events, and loading that says what is wrong with a file.

The datasets that need mmdet or mmpretrain are imported by `mmspike.datasets.of_libraries`.
"""

from .event_transforms import BinEvents, FramesToTensor, LoadEvents, LoadFrames
from .moving_shapes import generate_moving_shapes
from .shapes import generate_shapes
from .transforms import LoadImageFromFile, LoadSegAnnotations

__all__ = [
    'BinEvents',
    'FramesToTensor',
    'LoadEvents',
    'LoadFrames',
    'LoadImageFromFile',
    'LoadSegAnnotations',
    'generate_moving_shapes',
    'generate_shapes',
]
