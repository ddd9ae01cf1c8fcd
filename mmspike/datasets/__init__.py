"""Data: generated sets, events, and loading that says what is wrong with a file.

What needs mmpretrain is left out where it is not installed, or cannot be imported.
"""

import logging
from importlib.util import find_spec

from mmengine.logging import print_log

from mmspike.compat import make_torchvision_importable

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

if find_spec('mmpretrain'):
    make_torchvision_importable()  # mmpretrain imports it.
    try:
        from .events import EventDataset
        from .hardvs import HARDVS

        __all__ += ['EventDataset', 'HARDVS']
    except ImportError as error:  # A broken library must not take the other data with it.
        print_log(
            f'mmpretrain is installed but cannot be imported ({error}), so the datasets of mmspike '
            'that need it are not there.',
            logger='current',
            level=logging.WARNING,
        )
