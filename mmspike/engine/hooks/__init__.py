"""Hooks of mmspike."""

from .check_finite_loss_hook import CheckFiniteLossHook
from .check_schedule_hook import CheckScheduleHook
from .check_weights_hook import CheckWeightsHook
from .firing_rate_hook import FiringRateHook
from .repeatable_run_hook import RepeatableRunHook
from .whole_checkpoint_hook import WholeCheckpointHook

__all__ = [
    'CheckFiniteLossHook',
    'CheckScheduleHook',
    'CheckWeightsHook',
    'FiringRateHook',
    'RepeatableRunHook',
    'WholeCheckpointHook',
]
