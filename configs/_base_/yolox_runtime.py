"""What mmdet's YOLOX needs while it trains.

The weights that are tested and saved are an exponential mean. In the last 15 epochs mosaic and
mix-up are closed, and the boxes get an L1 loss besides.
"""

_base_ = ['default_runtime.py']

default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='YOLOXModeSwitchHook', num_last_epochs=15, priority=48),
    dict(
        type='EMAHook',
        ema_type='ExpMomentumEMA',
        momentum=0.0001,
        update_buffers=True,
        priority=49,
    ),
]
