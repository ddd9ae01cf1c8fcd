"""The datasets that are mmpretrain's, left out where it is not installed or cannot be imported."""

import logging
from importlib.util import find_spec

from mmengine.logging import print_log

from mmspike.compat import make_torchvision_importable

__all__ = []

if find_spec('mmpretrain'):
    make_torchvision_importable()  # mmpretrain imports it.
    try:
        from .events import EventDataset
        from .hardvs import HARDVS

        __all__ += ['EventDataset', 'HARDVS']
    except ImportError as error:  # A broken library must not take other data with it.
        print_log(
            f'mmpretrain is installed but cannot be imported ({error}), so the datasets of mmspike '
            'that need it are not there.',
            logger='current',
            level=logging.WARNING,
        )
