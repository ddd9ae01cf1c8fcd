"""A small spiking Mask R-CNN, to be trained from scratch on small pictures and a CPU."""

_base_ = ['mask_rcnn_metaspike.py']

neck_channels = 96
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, dims=(16, 32, 64, 128, 160), depths=(1, 1, 1, 2, 1), heads=8),
        # From scratch a lower threshold keeps the first iterations from being silent.
        neuron=dict(v_threshold=0.5),
    ),
    data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3),
    neck=dict(in_channels=[32, 64, 128, 160], out_channels=neck_channels),
    rpn_head=dict(
        in_channels=neck_channels, feat_channels=neck_channels, anchor_generator=dict(scales=[4])
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=1), out_channels=neck_channels, finest_scale=28
        ),
        bbox_head=dict(in_channels=neck_channels, fc_out_channels=256),
        mask_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=1), out_channels=neck_channels, finest_scale=28
        ),
        mask_head=dict(num_convs=2, in_channels=neck_channels, conv_out_channels=neck_channels),
    ),
)
