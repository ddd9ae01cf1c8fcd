"""A small spiking Semantic FPN on generated shapes, from scratch on the CPU: the README's demo.

Task: Semantic Segmentation on generated shapes
Parameters: 2.1M
Paper: none
Ours: mIoU 71.7, docs/results.md

    bash tools/demo.sh segmentation
"""

_base_ = ['semantic_fpn_metaspike-tiny_t1_camvid.py']

data_root = 'data/shapes/'
metainfo = dict(
    classes=('background', 'circle', 'rectangle', 'triangle'),
    palette=[[90, 90, 90], [220, 20, 60], [0, 160, 90], [60, 90, 220]],
)
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmspike.LoadSegAnnotations'),
    dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmspike.LoadSegAnnotations'),
    dict(type='PackSegInputs'),
]
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3, size=(128, 128)),
    # Binary, so that what the demo shows of its layers is 0 and 1.
    backbone=dict(neuron=dict(_delete_=True, type='mmspike.LIF', v_threshold=0.5)),
    decode_head=dict(num_classes=4, loss_decode=dict(class_weight=None)),
)
# A picture takes a millisecond: a process for it would only take a core from the training.
loading = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    **loading,
    batch_size=8,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        img_suffix='.png',
        data_prefix=dict(img_path='train', seg_map_path='masks/train'),
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    **loading,
    batch_size=8,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        img_suffix='.png',
        data_prefix=dict(img_path='val', seg_map_path='masks/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

max_iters = 600
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(fused=True))
default_hooks = dict(checkpoint=dict(interval=max_iters))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=max_iters),
]
auto_scale_lr = dict(base_batch_size=8)
