"""Spiking Semantic FPN on Meta-SpikeFormer 15M, from the outputs 1a, 1b, 2 and 4.

Time steps and neuron are written once, in the backbone: ``model.backbone.time_steps=4`` runs the
whole segmentor at T = 4, ``model.backbone.neuron.type=ReLU`` makes it its ANN twin, and
``model.backbone.time_reduction=mean`` averages over T before the neck, as the released code did.
"""

pretrained = None
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='mmspike.SpikeEncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(
        type='mmspike.MetaSpikeFormer',
        arch='15m',
        time_steps=1,
        neuron=dict(type='mmspike.LIF'),
        out_indices=(0, 1, 2, 4),
        pretrained=pretrained,
    ),
    neck=dict(
        type='FPN',
        in_channels=[32, 64, 128, 360],
        out_channels=128,
        num_outs=4,
        conv_cfg=dict(type='mmspike.SpikeConv2d'),
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type='mmspike.SpikeFPNHead',
        in_channels=[128, 128, 128, 128],
        in_index=[0, 1, 2, 3],
        feature_strides=[2, 4, 8, 16],
        channels=128,
        num_classes=150,
        norm_cfg=norm_cfg,
        loss_decode=dict(type='mmspike.CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
