"""What surrounds a model in training and testing."""

from mmspike.errors import UserError

from .checkpoint import load_checkpoint_file
from .config import load_config
from .hooks import CheckFiniteLossHook

__all__ = ['CheckFiniteLossHook', 'UserError', 'load_checkpoint_file', 'load_config']
