"""Spiking Semantic FPN, Meta-SpikeFormer 55M, T = 1, ADE20K.

Task: Semantic Segmentation on ADE20K
Parameters: 59.0M
Paper: mIoU 34.8, table 4 (58.9M parameters, 46.6 mJ)
Ours: not measured

    bash tools/dist_train.sh configs/semantic_fpn_metaspike-55m_t1_ade20k.py 4
"""

_base_ = ['semantic_fpn_metaspike_ade20k.py']

pretrained = 'checkpoints/metaspike-55m_t1_in1k.pth'
model = dict(
    backbone=dict(arch='55m', pretrained=pretrained),
    neck=dict(in_channels=[64, 128, 256, 640], out_channels=256),
    decode_head=dict(in_channels=[256, 256, 256, 256]),
)
