"""Meta-SpikeFormer 31M with a linear layer and a norm in place of RepConv-4, T = 1, ImageNet-1K.

Task: Image Classification on ImageNet-1K
Parameters: 29.9M
Paper: top-1 75.3, table 5 (30.0M parameters, 7.1 mJ); the published 31M has 75.4 (7.8 mJ)
Ours: not measured, docs/ablations.md trains small

    bash tools/dist_train.sh configs/metaspike-31m-linearproj_t1_in1k.py 8
"""

_base_ = ['metaspike-31m_t1_in1k.py']

model = dict(backbone=dict(variant=dict(proj='linear')))
