"""Meta-SpikeFormer 31M with one stem of stride 4 for stage 1 (2C x H/4), T = 1, ImageNet-1K.

Task: Image Classification on ImageNet-1K
Parameters: 31.8M
Paper: top-1 75.2, table 5 (31.8M parameters, 7.4 mJ); the published 31M has 75.4 (7.8 mJ)
Ours: not measured, docs/ablations.md trains small

    bash tools/dist_train.sh configs/metaspike-31m-stem4_t1_in1k.py 8
"""

_base_ = ['metaspike-31m_t1_in1k.py']

model = dict(backbone=dict(variant=dict(stem_stride=4)))
