"""Names that other code imports from here; they live in `mmspike.config` and its neighbours."""

from mmspike.checkpoint import allow_mmengine_types, load_checkpoint_file
from mmspike.config import load_config
from mmspike.errors import UserError
from mmspike.hooks import (
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
