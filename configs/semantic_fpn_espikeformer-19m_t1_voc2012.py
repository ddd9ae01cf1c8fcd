r"""Spiking Semantic FPN, E-SpikeFormer 19M, T x D = 1 x 4, VOC2012.

Task: Semantic Segmentation on PASCAL VOC 2012
Parameters: 20.3M
Paper: not known here
Ours: not measured

    bash tools/dist_train.sh configs/semantic_fpn_espikeformer-19m_t1_voc2012.py 4 \
        --cfg-options pretrained=FILE
"""

_base_ = ['semantic_fpn_espikeformer-10m_t1_voc2012.py']

pretrained = 'checkpoints/espikeformer-19m_t1_in1k.pth'
model = dict(
    backbone=dict(arch='19m', pretrained=pretrained),
    neck=dict(in_channels=[32, 64, 128, 360]),
)
