r"""A small spiking YOLOX on the nuclei of the 2018 Data Science Bowl, from scratch on the CPU.

Pictures, sizes and epochs are those of mask_rcnn_metaspike-tiny_t1_nuclei.py. Paper: none. Ours:
see docs/results.md. The spiking model, and its ANN twin in a folder of its own:

    python tools/train.py configs/yolox_metaspike-tiny_t1_nuclei.py \
        --cfg-options data_root=FOLDER
    python tools/train.py configs/yolox_metaspike-tiny_t1_nuclei.py --work-dir FOLDER \
        --cfg-options data_root=FOLDER model.backbone.neuron.type=ReLU
"""

_base_ = [
    '_base_/models/yolox_metaspike-tiny.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/adamw_24e.py',
    '_base_/default_runtime.py',
]

data_root = 'data/nuclei/'
metainfo = dict(classes=('nucleus',), palette=[(220, 20, 60)])

strides = (4, 8, 16, 32)  # Many nuclei are a few pixels wide.
model = dict(
    backbone=dict(out_indices=(1, 2, 3, 4), out_strides=strides),
    neck=dict(in_channels=[32, 64, 128, 160]),
    bbox_head=dict(num_classes=1, strides=strides),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=(512, 512), ratio_range=(0.75, 1.33), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(192, 192)),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(512, 512), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
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

max_epochs = 50
train_cfg = dict(max_epochs=max_epochs, val_interval=25)
optim_wrapper = dict(optimizer=dict(lr=2.5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True
    ),
]
auto_scale_lr = dict(base_batch_size=4)
randomness = dict(seed=0)
