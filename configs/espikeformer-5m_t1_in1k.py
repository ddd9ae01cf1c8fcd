"""E-SpikeFormer 5M, T x D = 1 x 4, ImageNet-1K, from scratch.

Task: Image Classification on ImageNet-1K
Parameters: 5.1M
Paper: not known here
Ours: not measured

    bash tools/dist_train.sh configs/espikeformer-5m_t1_in1k.py 8
"""

_base_ = ['espikeformer-10m_t1_in1k.py']

model = dict(
    backbone=dict(arch='5m'),
    head=dict(in_channels=192),
)
