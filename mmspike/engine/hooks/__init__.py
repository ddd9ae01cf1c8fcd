"""Hooks of mmspike."""

from .check_finite_loss_hook import CheckFiniteLossHook
from .firing_rate_hook import FiringRateHook

__all__ = ['CheckFiniteLossHook', 'FiringRateHook']
