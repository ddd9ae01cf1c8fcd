"""A small spiking classifier of generated shapes, from scratch on the CPU: pretraining in small.

Task: Image Classification on generated shapes
Parameters: 1.7M
Paper: none
Ours: top-1 89.4, docs/results.md

Its backbone is that of the small Mask R-CNN and Semantic FPN:

    python tools/make_shapes.py data/shapes --crops
    python tools/train.py configs/metaspike-tiny_t1_shapes.py
"""

_base_ = ['_base_/models/metaspike_classifier.py', '_base_/classification_runtime.py']

data_root = 'data/shapes/'
metainfo = dict(classes=('circle', 'rectangle', 'triangle'))
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3),
    backbone=dict(
        arch=dict(_delete_=True, dims=(16, 32, 64, 128, 160), depths=(1, 1, 1, 2, 1), heads=8),
        # From scratch a lower threshold keeps the first iterations from being silent.
        neuron=dict(v_threshold=0.5),
    ),
    head=dict(in_channels=160, num_classes=3, topk=(1,)),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='crops/train',
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='crops/val',
        metainfo=metainfo,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=1)
test_evaluator = val_evaluator

max_epochs = 10
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=2.5e-3, weight_decay=0.05)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True
    ),
]
auto_scale_lr = dict(enable=False, base_batch_size=32)
randomness = dict(seed=0)
