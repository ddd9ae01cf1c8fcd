"""Spiking UPerNet with an auxiliary FCN head, Meta-SpikeFormer 15M, T = 1, ADE20K.

Task: Semantic Segmentation on ADE20K
Parameters: 22.9M
Paper: none
Ours: not measured

    bash tools/dist_train.sh configs/upernet_metaspike_t1_ade20k.py 4
"""

_base_ = ['semantic_fpn_metaspike_ade20k.py']

norm_cfg = dict(type='BN', requires_grad=True)
loss = dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)
model = dict(
    backbone=dict(out_indices=(1, 2, 3, 4), out_strides=(4, 8, 16, 32)),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='mmspike.SpikeUPerHead',
        in_channels=[64, 128, 256, 360],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=256,
        num_classes=150,
        norm_cfg=norm_cfg,
        loss_decode=loss,
    ),
    auxiliary_head=dict(
        type='mmspike.SpikeFCNHead',
        in_channels=256,
        in_index=2,
        channels=128,
        num_convs=1,
        concat_input=False,
        num_classes=150,
        norm_cfg=norm_cfg,
        loss_decode=dict(loss, loss_weight=0.4),
    ),
)
