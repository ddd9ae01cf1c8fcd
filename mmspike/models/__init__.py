"""Models: thin arrangements of layers that speak the interface of mmdet, mmseg and mmpretrain.

What needs one of these libraries is left out where it is not installed.
"""

from importlib.util import find_spec

from mmspike import layers
from mmspike.compat import make_torchvision_importable

from . import backbones
from .spiking_model import SpikingModel

__all__ = ['SpikingModel', 'backbones', 'layers']

if find_spec('mmdet'):
    make_torchvision_importable()  # mmdet imports mmpretrain, if that is there, and so torchvision.
    from . import dense_heads, detectors, necks, roi_heads

    __all__ += ['dense_heads', 'detectors', 'necks', 'roi_heads']

if find_spec('mmseg'):
    make_torchvision_importable()  # So do some heads of mmseg.
    from . import decode_heads, segmentors

    __all__ += ['decode_heads', 'segmentors']

if find_spec('mmpretrain'):
    make_torchvision_importable()
    from . import classifiers, heads

    __all__ += ['classifiers', 'heads']
