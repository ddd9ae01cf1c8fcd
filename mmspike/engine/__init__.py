"""Training and testing: commands, configs, checkpoints, hooks, and checks of what users give."""

from mmspike.checkpoint import allow_mmengine_types, load_checkpoint_file
from mmspike.errors import UserError

from .config import load_config
from .hooks import (
    CheckFiniteLossHook,
    CheckScheduleHook,
    CheckWeightsHook,
    FiringRateHook,
    RepeatableRunHook,
    WholeCheckpointHook,
)

__all__ = [
    'CheckFiniteLossHook',
    'CheckScheduleHook',
    'CheckWeightsHook',
    'FiringRateHook',
    'RepeatableRunHook',
    'UserError',
    'WholeCheckpointHook',
    'allow_mmengine_types',
    'load_checkpoint_file',
    'load_config',
]
