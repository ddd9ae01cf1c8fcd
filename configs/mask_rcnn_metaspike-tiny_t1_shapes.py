"""A small spiking Mask R-CNN on generated shapes, from scratch on the CPU: the README's demo.

Paper: none. Ours: see docs/results.md.

    bash tools/demo.sh
"""

_base_ = ['mask_rcnn_metaspike_coco.py']

data_root = 'data/shapes/'
classes = ('circle', 'rectangle', 'triangle')
metainfo = dict(classes=classes, palette=[(220, 20, 60), (0, 160, 90), (60, 90, 220)])
neck_channels = 96
pretrained = None

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3),
    backbone=dict(
        arch=dict(_delete_=True, dims=(16, 32, 64, 128, 160), depths=(1, 1, 1, 2, 1), heads=8),
        # From scratch a lower threshold keeps the first iterations from being silent.
        neuron=dict(v_threshold=0.5),
        pretrained=pretrained,
    ),
    neck=dict(in_channels=[32, 64, 128, 160], out_channels=neck_channels),
    rpn_head=dict(
        in_channels=neck_channels, feat_channels=neck_channels, anchor_generator=dict(scales=[4])
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=1), out_channels=neck_channels, finest_scale=28
        ),
        bbox_head=dict(in_channels=neck_channels, fc_out_channels=256, num_classes=3),
        mask_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=1), out_channels=neck_channels, finest_scale=28
        ),
        mask_head=dict(
            num_convs=2, in_channels=neck_channels, conv_out_channels=neck_channels, num_classes=3
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=400, max_per_img=200), rcnn=dict(sampler=dict(num=32))
    ),
    test_cfg=dict(rpn=dict(nms_pre=400, max_per_img=200)),
)

train_pipeline = [
    dict(type='mmspike.LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='mmspike.LoadImageFromFile'),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

max_epochs = 11
train_cfg = dict(max_epochs=max_epochs, val_interval=11)
optim_wrapper = dict(optimizer=dict(lr=2.5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True
    ),
]
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)
