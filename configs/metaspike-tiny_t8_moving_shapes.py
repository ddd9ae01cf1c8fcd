"""A small spiking classifier of moving shapes, T = 8 frames of events, from scratch on the CPU.

Task: Action Recognition on generated moving shapes
Parameters: 0.2M
Paper: none
Ours: top-1 99.5, docs/results.md

    python tools/make_moving_shapes.py data/moving_shapes
    python tools/train.py configs/metaspike-tiny_t8_moving_shapes.py
"""

_base_ = [
    '_base_/models/metaspike_classifier.py',
    '_base_/schedules/adamw_24e.py',
    '_base_/classification_runtime.py',
]

data_root = 'data/moving_shapes/'
metainfo = dict(classes=('right', 'down', 'left', 'up'))

model = dict(
    # Counts of events are small numbers already.
    data_preprocessor=dict(mean=None, std=None, to_rgb=False),
    backbone=dict(
        arch=dict(_delete_=True, dims=(8, 16, 32, 32, 32), depths=(1, 1, 1, 1, 1), heads=4),
        time_steps=8,
        in_channels=2,
        out_indices=(2,),  # Of 32 pixels too few are left for attention.
        # From scratch a lower threshold keeps the first iterations from being silent.
        neuron=dict(v_threshold=0.5),
    ),
    head=dict(
        in_channels=32,
        num_classes=4,
        loss=dict(_delete_=True, type='CrossEntropyLoss'),
        topk=(1,),
        init_cfg=dict(type='Normal', layer='Linear', std=0.1),
    ),
)

# No flip: it would turn one class into another.
pipeline = [
    dict(type='mmspike.LoadEvents'),
    dict(type='mmspike.BinEvents', by='time'),
    dict(type='mmspike.FramesToTensor'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmspike.EventDataset',
        data_root=data_root,
        data_prefix=dict(img_path='train/'),
        metainfo=metainfo,
        sensor_size=(32, 32),
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmspike.EventDataset',
        data_root=data_root,
        data_prefix=dict(img_path='val/'),
        metainfo=metainfo,
        sensor_size=(32, 32),
        pipeline=pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

max_epochs = 12
train_cfg = dict(max_epochs=max_epochs, val_interval=3)
optim_wrapper = dict(optimizer=dict(lr=2.5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=30),
    dict(
        type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True
    ),
]
default_hooks = dict(logger=dict(interval=10))
auto_scale_lr = dict(base_batch_size=32)
randomness = dict(seed=0)
