"""Spiking Semantic FPN, Meta-SpikeFormer 55M, T = 1, VOC2012.

Task: Semantic Segmentation on PASCAL VOC 2012
Parameters: 59.0M
Paper: none, table 10 has T = 4 alone, which starts from this
Ours: not measured

    bash tools/dist_train.sh configs/semantic_fpn_metaspike-55m_t1_voc2012.py 4
"""

_base_ = ['semantic_fpn_metaspike_voc2012.py']

pretrained = 'checkpoints/metaspike-55m_t1_in1k.pth'
model = dict(
    backbone=dict(arch='55m', pretrained=pretrained),
    neck=dict(in_channels=[64, 128, 256, 640], out_channels=256),
    decode_head=dict(in_channels=[256, 256, 256, 256]),
)
