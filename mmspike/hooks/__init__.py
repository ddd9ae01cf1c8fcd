"""Hooks of mmspike."""

from mmspike.hooks.check_finite_loss_hook import CheckFiniteLossHook
from mmspike.hooks.check_schedule_hook import CheckScheduleHook
from mmspike.hooks.check_weights_hook import CheckWeightsHook
from mmspike.hooks.compile_neurons_hook import CompileNeuronsHook
from mmspike.hooks.firing_rate_hook import FiringRateHook
from mmspike.hooks.follow_model_hook import FollowModelHook
from mmspike.hooks.repeatable_run_hook import RepeatableRunHook
from mmspike.hooks.whole_checkpoint_hook import WholeCheckpointHook

__all__ = [
    'CheckFiniteLossHook',
    'CheckScheduleHook',
    'CheckWeightsHook',
    'CompileNeuronsHook',
    'FiringRateHook',
    'FollowModelHook',
    'RepeatableRunHook',
    'WholeCheckpointHook',
]
