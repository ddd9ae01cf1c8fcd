r"""Spiking Semantic FPN, E-SpikeFormer 19M, T x D = 1 x 4, ADE20K.

Task: Semantic Segmentation on ADE20K
Parameters: 20.3M
Paper: not known here
Ours: not measured

    bash tools/dist_train.sh configs/semantic_fpn_espikeformer-19m_t1_ade20k.py 4 \
        --cfg-options pretrained=FILE
"""

_base_ = ['semantic_fpn_espikeformer-10m_t1_ade20k.py']

pretrained = 'checkpoints/espikeformer-19m_t1_in1k.pth'
model = dict(
    backbone=dict(arch='19m', pretrained=pretrained),
    neck=dict(in_channels=[32, 64, 128, 360]),
)
