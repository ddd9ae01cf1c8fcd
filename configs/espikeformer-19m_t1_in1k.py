"""E-SpikeFormer 19M, T x D = 1 x 4, ImageNet-1K, from scratch.

Task: Image Classification on ImageNet-1K
Parameters: 19.0M
Paper: top-1 79.8, TPAMI 2025
Ours: not measured

    bash tools/dist_train.sh configs/espikeformer-19m_t1_in1k.py 8
"""

_base_ = ['espikeformer-10m_t1_in1k.py']

model = dict(
    backbone=dict(arch='19m'),
    head=dict(in_channels=360),
)
