"""Spiking FCOS, Meta-SpikeFormer 15M, T = 1, COCO 2017.

Task: Object Detection on COCO 2017
Parameters: 22.8M
Paper: none
Ours: not measured

    bash tools/dist_train.sh configs/fcos_metaspike_t1_coco.py 6
"""

_base_ = ['retinanet_metaspike_t1_coco.py']

model = dict(
    type='mmspike.SpikeFCOS',
    neck=dict(add_extra_convs='on_output'),
    bbox_head=dict(
        _delete_=True,
        type='mmspike.SpikeFCOSHead',
        num_classes=80,
        in_channels=256,
        feat_channels=256,
        strides=[8, 16, 32, 64, 128],
        norm_cfg=dict(type='GN', num_groups=32, requires_grad=True),
        norm_on_bbox=True,
        centerness_on_reg=True,
        center_sampling=True,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=1.0),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
    ),
    train_cfg=dict(_delete_=True),
    test_cfg=dict(nms=dict(iou_threshold=0.6)),
)
