"""Spiking Cascade Mask R-CNN, Meta-SpikeFormer 15M, T = 1, COCO 2017.

Task: Instance Segmentation on COCO 2017
Parameters: 67.8M
Paper: none
Ours: not measured

    bash tools/dist_train.sh configs/cascade_mask_rcnn_metaspike_t1_coco.py 6
"""

_base_ = ['mask_rcnn_metaspike_coco.py']

box_head = dict(
    type='mmspike.SpikeShared2FCBBoxHead',
    in_channels=256,
    fc_out_channels=1024,
    norm_cfg=dict(type='BN1d'),
    roi_feat_size=7,
    num_classes=80,
    reg_class_agnostic=True,
    loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0),
)
sampler = dict(
    type='RandomSampler', num=512, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True
)
model = dict(
    type='mmspike.SpikeCascadeRCNN',
    roi_head=dict(
        type='CascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[
            dict(
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder',
                    target_means=[0.0] * 4,
                    target_stds=[0.1 / stage, 0.1 / stage, 0.2 / stage, 0.2 / stage],
                ),
                **box_head,
            )
            for stage in (1, 2, 3)
        ],
    ),
    train_cfg=dict(
        rcnn=[
            dict(
                assigner=dict(
                    type='MaxIoUAssigner',
                    pos_iou_thr=iou,
                    neg_iou_thr=iou,
                    min_pos_iou=iou,
                    match_low_quality=False,
                    ignore_iof_thr=-1,
                ),
                sampler=sampler,
                mask_size=28,
                pos_weight=-1,
                debug=False,
            )
            for iou in (0.5, 0.6, 0.7)
        ]
    ),
)
