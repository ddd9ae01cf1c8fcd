"""A Semantic FPN of two convolutional stages and few channels, which leaves torch in seconds."""

custom_imports = dict(imports=['mmspike.registry'], allow_failed_imports=False)
default_scope = 'mmseg'
model = dict(
    type='mmspike.SpikeEncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=True
    ),
    backbone=dict(
        type='mmspike.MetaSpikeFormer',
        arch=dict(dims=(4, 8, 8, 8, 8), depths=(1,) * 5, heads=2),
        time_steps=2,
        out_indices=(0, 1),
    ),
    neck=dict(
        type='FPN',
        in_channels=[4, 8],
        out_channels=4,
        num_outs=2,
        conv_cfg=dict(type='mmspike.SpikeConv2d'),
        act_cfg=None,
    ),
    decode_head=dict(
        type='mmspike.SpikeFPNHead',
        in_channels=[4, 4],
        in_index=[0, 1],
        feature_strides=[2, 4],
        channels=4,
        num_classes=3,
        norm_cfg=dict(type='BN'),
        align_corners=False,
    ),
    test_cfg=dict(mode='whole'),
)
