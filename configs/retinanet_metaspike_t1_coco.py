"""Spiking RetinaNet, Meta-SpikeFormer 15M, T = 1, COCO 2017.

Task: Object Detection on COCO 2017
Parameters: 24.6M
Paper: none
Ours: not measured

    bash tools/dist_train.sh configs/retinanet_metaspike_t1_coco.py 6
"""

_base_ = [
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/adamw_24e.py',
    '_base_/default_runtime.py',
]

pretrained = 'checkpoints/metaspike-15m_t1_in1k.pth'
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='mmspike.SpikeRetinaNet',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='mmspike.MetaSpikeFormer',
        arch='15m',
        time_steps=1,
        neuron=dict(type='mmspike.LIF'),
        out_indices=(2, 3, 4),
        out_strides=(8, 16, 32),
        pretrained=pretrained,
    ),
    neck=dict(
        type='mmspike.SpikeFPN',
        in_channels=[128, 256, 360],
        out_channels=256,
        norm_cfg=norm_cfg,
        add_extra_convs='on_input',
        num_outs=5,
    ),
    bbox_head=dict(
        type='mmspike.SpikeRetinaHead',
        num_classes=80,
        in_channels=256,
        feat_channels=256,
        num_ins=5,  # Levels, each with norms of its own.
        norm_cfg=norm_cfg,
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=[0.5, 1.0, 2.0],
            strides=[8, 16, 32, 64, 128],
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=1.0),
    ),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.4,
            min_pos_iou=0,
            ignore_iof_thr=-1,
        ),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=100,
    ),
)
