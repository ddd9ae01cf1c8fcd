"""Hooks of mmspike."""

from .check_finite_loss_hook import CheckFiniteLossHook
from .firing_rate_hook import FiringRateHook
from .repeatable_run_hook import RepeatableRunHook
from .whole_checkpoint_hook import WholeCheckpointHook

__all__ = ['CheckFiniteLossHook', 'FiringRateHook', 'RepeatableRunHook', 'WholeCheckpointHook']
