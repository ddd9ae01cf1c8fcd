"""The datasets that are mmdet's or mmpretrain's, left out where the library cannot be imported."""

import logging
from importlib import import_module
from importlib.util import find_spec

from mmengine.logging import print_log

from mmspike.compat import make_torchvision_importable

# Modules here, by the library that they need.
MODULES = dict(mmdet=('coco', 'voc'), mmpretrain=('events', 'hardvs'))

for library in filter(find_spec, MODULES):
    make_torchvision_importable()  # Both import it.
    try:
        for name in MODULES[library]:
            import_module(f'mmspike.datasets.{name}')
    except ImportError as error:  # A broken library must not take other data with it.
        print_log(
            f'{library} is installed but cannot be imported ({error}), so the datasets of mmspike '
            'that need it are not there.',
            logger='current',
            level=logging.WARNING,
        )
