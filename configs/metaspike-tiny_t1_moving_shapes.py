"""Moving shapes with all events of a recording in one frame, T = 1: no order, so near chance (25%).

Task: Action Recognition on generated moving shapes
Parameters: 0.2M
Paper: none
Ours: top-1 24.0, docs/results.md

    python tools/make_moving_shapes.py data/moving_shapes
    python tools/train.py configs/metaspike-tiny_t1_moving_shapes.py
"""

_base_ = ['metaspike-tiny_t8_moving_shapes.py']

model = dict(backbone=dict(time_steps=1))
