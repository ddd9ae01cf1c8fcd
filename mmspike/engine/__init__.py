"""What surrounds a model in training and testing."""

from mmspike.errors import UserError

from .checkpoint import allow_mmengine_types, load_checkpoint_file
from .config import load_config
from .hooks import CheckFiniteLossHook, FiringRateHook

__all__ = [
    'CheckFiniteLossHook',
    'FiringRateHook',
    'UserError',
    'allow_mmengine_types',
    'load_checkpoint_file',
    'load_config',
]
