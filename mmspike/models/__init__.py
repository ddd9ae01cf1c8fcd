"""Models: thin arrangements of layers that speak the interface of mmdet, mmseg and mmpretrain.

What needs one of these libraries is left out where it is not installed, or cannot be imported.
"""

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log

from mmspike import layers
from mmspike.compat import make_torchvision_importable

from . import backbones
from .backbones import ESpikeFormer, MetaSpikeFormer
from .spiking_backbone import SpikingBackbone
from .spiking_model import SpikingModel

if TYPE_CHECKING:
    from .classifiers import *  # noqa: F403
    from .decode_heads import *  # noqa: F403
    from .dense_heads import *  # noqa: F403
    from .detectors import *  # noqa: F403
    from .heads import *  # noqa: F403
    from .losses import *  # noqa: F403
    from .necks import *  # noqa: F403
    from .roi_heads import *  # noqa: F403
    from .segmentors import *  # noqa: F403

__all__ = [
    'ESpikeFormer',
    'MetaSpikeFormer',
    'SpikingBackbone',
    'SpikingModel',
    'backbones',
    'layers',
]

# The classes that need a library, by the subpackage that holds them.
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    'mmdet': {
        'dense_heads': (
            *('SpikeFCOSHead', 'SpikeRPNHead', 'SpikeRTMDetHead', 'SpikeRetinaHead'),
            'SpikeYOLOXHead',
        ),
        'detectors': (
            *('SpikeCascadeRCNN', 'SpikeFCOS', 'SpikeMaskRCNN', 'SpikeRTMDet', 'SpikeRetinaNet'),
            'SpikeYOLOX',
        ),
        'necks': ('SpikeCSPNeXtPAFPN', 'SpikeFPN'),
        'roi_heads': ('SpikeFCNMaskHead', 'SpikeRoIExtractor', 'SpikeShared2FCBBoxHead'),
    },
    'mmseg': {
        'decode_heads': ('SpikeFCNHead', 'SpikeFPNHead', 'SpikeUPerHead'),
        'losses': ('CrossEntropyLoss',),
        'segmentors': ('SegTTAModel', 'SpikeEncoderDecoder'),
    },
    'mmpretrain': {
        'classifiers': ('DistilledSpikeClassifier', 'SpikeImageClassifier'),
        'heads': ('SpikeDistilledClsHead', 'SpikeLinearClsHead'),
    },
}


def _import_parts(library: str) -> bool:
    """Import the parts that need a library, if it is there.

    A broken one must not take the others with it.
    """
    if find_spec(library) is None:
        return False
    make_torchvision_importable()  # All three import it, mmdet and mmseg through mmpretrain.
    try:
        for part, names in PARTS[library].items():
            globals()[part] = import_module(f'{__name__}.{part}')
            __all__.extend([part, *names])
    except (ImportError, AssertionError) as error:  # mmseg asserts versions.
        print_log(
            f'{library} is installed but cannot be imported ({error}), so the models of mmspike '
            'that need it are not there.',
            logger='current',
            level=logging.WARNING,
        )
        return False
    return True


if any([_import_parts(library) for library in PARTS]):  # Each has a ResNet.
    from .backbones.spike_resnet import SpikeResNet

    __all__ += ['SpikeResNet']


def __getattr__(name: str) -> Any:
    """Give a class of a part by its own name (PEP 562).

    Raises:
        ImportError: If it needs a library that is not installed or cannot be imported.
    """
    for library, parts in PARTS.items():
        for part, names in parts.items():
            if name in names:
                if part not in globals():
                    raise ImportError(
                        f'{name} needs {library}, which is not installed here or cannot be '
                        'imported; mmspike doctor says how to get it.'
                    )
                return getattr(globals()[part], name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
