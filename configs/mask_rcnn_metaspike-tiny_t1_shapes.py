"""A small spiking Mask R-CNN on generated shapes, from scratch on the CPU: the README's demo.

Task: Instance Segmentation on generated shapes
Parameters: 2.8M
Paper: none
Ours: docs/results.md

    bash tools/demo.sh
"""

_base_ = [
    '_base_/models/mask_rcnn_metaspike-tiny.py',
    '_base_/datasets/shapes_instance.py',
    '_base_/schedules/adamw_24e.py',
    '_base_/default_runtime.py',
]

neck_channels = 64

model = dict(
    neck=dict(out_channels=neck_channels),
    rpn_head=dict(in_channels=neck_channels, feat_channels=neck_channels),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=neck_channels),
        bbox_head=dict(in_channels=neck_channels, num_classes=3),
        mask_roi_extractor=dict(out_channels=neck_channels),
        mask_head=dict(
            num_convs=1, in_channels=neck_channels, conv_out_channels=neck_channels, num_classes=3
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        # With a quarter of positives the head learns for long that all is background.
        rcnn=dict(sampler=dict(num=24, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100)),
)

max_epochs = 7
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-2, fused=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True
    ),
]
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)
