"""The hooks of mmspike, which its commands give any config. A runtime adds those of its library."""

custom_hooks = [
    dict(type='mmspike.CheckFiniteLossHook'),
    dict(type='mmspike.CheckWeightsHook'),
    dict(type='mmspike.CheckScheduleHook'),
    dict(type='mmspike.FollowModelHook'),
    dict(type='mmspike.CompileNeuronsHook'),
    dict(type='mmspike.RepeatableRunHook'),
]
