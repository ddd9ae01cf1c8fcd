"""mmseg's own Semantic FPN on ResNet-18, no spikes: the baseline of the small models on CamVid.

Task: Semantic Segmentation on CamVid
Parameters: 15.4M
Paper: none
Ours: mIoU 58.2, docs/results.md

    python tools/train.py configs/semantic_fpn_resnet18_camvid.py
"""

_base_ = ['semantic_fpn_metaspike-tiny_t1_camvid.py']

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    backbone=dict(_delete_=True, type='ResNetV1c', depth=18, norm_cfg=norm_cfg, norm_eval=False),
    neck=dict(
        _delete_=True, type='FPN', in_channels=[64, 128, 256, 512], out_channels=256, num_outs=4
    ),
    decode_head=dict(
        type='FPNHead',
        in_channels=[256, 256, 256, 256],
        feature_strides=[4, 8, 16, 32],
        channels=128,
    ),
)
