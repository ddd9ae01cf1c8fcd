"""Models: thin arrangements of layers that speak the interface of mmdet, mmseg and mmpretrain.

What needs one of these libraries is left out where it is not installed, or cannot be imported.
"""

import logging
from importlib import import_module
from importlib.util import find_spec

from mmengine.logging import print_log

from mmspike import layers
from mmspike.compat import make_torchvision_importable

from . import backbones
from .spiking_model import SpikingModel

__all__ = ['SpikingModel', 'backbones', 'layers']

PARTS = {
    'mmdet': ('dense_heads', 'detectors', 'necks', 'roi_heads'),
    'mmseg': ('decode_heads', 'losses', 'segmentors'),
    'mmpretrain': ('classifiers', 'heads'),
}


def _import_parts(library: str) -> None:
    """Import the parts that need a library; a broken one must not take the others with it."""
    if find_spec(library) is None:
        return
    make_torchvision_importable()  # All three import it, mmdet and mmseg through mmpretrain.
    try:
        for part in PARTS[library]:
            globals()[part] = import_module(f'{__name__}.{part}')
            __all__.append(part)
    except (ImportError, AssertionError) as error:  # mmseg asserts versions.
        print_log(
            f'{library} is installed but cannot be imported ({error}), so the models of mmspike '
            'that need it are not there.',
            logger='current',
            level=logging.WARNING,
        )


for _library in PARTS:
    _import_parts(_library)
