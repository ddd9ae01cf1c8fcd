"""Spiking YOLOX on Meta-SpikeFormer 15M.

The paper's lightweight YOLOv5, re-implemented spike-driven, is not public, and its neck cannot be
derived to the digit. This is mmdet's YOLOX with as many parameters: a path aggregation and a
decoupled head of 80 channels behind the unchanged backbone.
"""

pretrained = None
channels = 80
spiking = dict(conv_cfg=dict(type='mmspike.SpikeConv2d'), act_cfg=None)
norm_cfg = dict(type='BN', momentum=0.03, eps=0.001)
model = dict(
    type='mmspike.SpikeYOLOX',
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
        out_strides=(8, 16, 32),  # Stage 4 has 16; pooling makes it a pyramid.
        out_channels=(80, 160, 320),
        pretrained=pretrained,
    ),
    neck=dict(
        type='YOLOXPAFPN',
        in_channels=[80, 160, 320],
        out_channels=channels,
        num_csp_blocks=1,
        norm_cfg=norm_cfg,
        **spiking,
    ),
    bbox_head=dict(
        type='mmspike.SpikeYOLOXHead',
        num_classes=80,
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=2,
        strides=(8, 16, 32),
        norm_cfg=norm_cfg,
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, reduction='sum', loss_weight=1.0),
        loss_bbox=dict(type='IoULoss', mode='square', eps=1e-16, reduction='sum', loss_weight=5.0),
        loss_obj=dict(type='CrossEntropyLoss', use_sigmoid=True, reduction='sum', loss_weight=1.0),
        loss_l1=dict(type='L1Loss', reduction='sum', loss_weight=1.0),
    ),
    train_cfg=dict(assigner=dict(type='SimOTAAssigner', center_radius=2.5)),
    test_cfg=dict(score_thr=0.01, nms=dict(type='nms', iou_threshold=0.65)),
)
