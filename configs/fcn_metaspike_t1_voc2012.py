"""Spiking FCN on stage 4, Meta-SpikeFormer 15M, T = 1, VOC2012.

Task: Semantic Segmentation on PASCAL VOC 2012
Parameters: 17.6M
Paper: none
Ours: not measured

    bash tools/dist_train.sh configs/fcn_metaspike_t1_voc2012.py 4
"""

_base_ = ['semantic_fpn_metaspike_voc2012.py']

model = dict(
    backbone=dict(out_indices=(4,)),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='mmspike.SpikeFCNHead',
        in_channels=360,
        in_index=0,
        channels=256,
        num_convs=2,
        num_classes=21,
        norm_cfg=dict(type='BN', requires_grad=True),
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
)
