"""The spiking YOLOX that is trained on COCO, small: 64x64 shapes, three epochs, the last closed."""

_base_ = ['../../configs/yolox_metaspike_t1_coco.py']

data_root = 'data/shapes/'
metainfo = dict(classes=('circle', 'rectangle', 'triangle'), palette=[(255, 0, 0)] * 3)
scale = (64, 64)
model = dict(
    data_preprocessor=dict(
        batch_augments=[
            dict(
                type='BatchSyncRandomResize',
                random_size_range=(32, 96),
                size_divisor=32,
                interval=1,
            )
        ]
    ),
    backbone=dict(
        arch=dict(_delete_=True, dims=(8,) * 5, depths=(1,) * 5, heads=2),
        neuron=dict(v_threshold=0.5),
        time_steps=2,
        out_channels=(8, 8, 8),
    ),
    neck=dict(in_channels=[8, 8, 8], out_channels=8),
    bbox_head=dict(in_channels=8, feat_channels=8, num_classes=3),
    test_cfg=dict(score_thr=0.0),
)
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
pad = dict(type='Pad', pad_to_square=True, pad_val=dict(img=(114.0, 114.0, 114.0)))
pack = dict(
    type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        dataset=dict(
            data_root=data_root,
            metainfo=metainfo,
            ann_file='annotations/instances_train.json',
            data_prefix=dict(img='train/'),
            pipeline=load,
        ),
        pipeline=[
            dict(type='Mosaic', img_scale=scale, pad_val=114.0),
            dict(type='RandomAffine', scaling_ratio_range=(0.1, 2), border=(-32, -32)),
            dict(type='MixUp', img_scale=scale, ratio_range=(0.8, 1.6), pad_val=114.0),
            dict(type='YOLOXHSVRandomAug'),
            dict(type='RandomFlip', prob=0.5),
            dict(type='Resize', scale=scale, keep_ratio=True),
            pad,
            dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1), keep_empty=False),
            dict(type='PackDetInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        pipeline=[load[0], dict(type='Resize', scale=scale, keep_ratio=True), pad, load[1], pack],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator
max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
# So few channels fall silent, and what SGD makes of a norm of nothing has no bound.
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=5e-4))
param_scheduler = [dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=0, end=max_epochs)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1, max_keep_ckpts=-1))
custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='mmspike.CheckFiniteLossHook'),
    dict(type='SyncBuffersHook'),
    dict(type='YOLOXModeSwitchHook', num_last_epochs=2, priority=48),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.1, update_buffers=True, priority=49),
]
randomness = dict(seed=0)
