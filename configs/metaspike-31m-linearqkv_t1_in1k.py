"""Meta-SpikeFormer 31M with linear layers in place of RepConv-1, 2 and 3, T = 1, ImageNet-1K.

Task: Image Classification on ImageNet-1K
Parameters: 27.2M
Paper: top-1 75.0, table 5 (27.2M parameters, 6.0 mJ); the published 31M has 75.4 (7.8 mJ)
Ours: not measured, docs/ablations.md trains small

    bash tools/dist_train.sh configs/metaspike-31m-linearqkv_t1_in1k.py 8
"""

_base_ = ['metaspike-31m_t1_in1k.py']

model = dict(backbone=dict(variant=dict(qkv='linear')))
