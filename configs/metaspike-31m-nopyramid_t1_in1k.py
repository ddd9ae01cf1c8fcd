"""Meta-SpikeFormer 31M without a pyramid, stage 4 as wide as stage 3, T = 1, ImageNet-1K.

Task: Image Classification on ImageNet-1K
Parameters: 26.9M
Paper: top-1 74.7, table 5 (26.9M parameters, 7.4 mJ); the published 31M has 75.4 (7.8 mJ)
Ours: not measured, docs/ablations.md trains small

    bash tools/dist_train.sh configs/metaspike-31m-nopyramid_t1_in1k.py 8
"""

_base_ = ['metaspike-31m_t1_in1k.py']

model = dict(
    backbone=dict(variant=dict(pyramid=False)),
    head=dict(in_channels=384),
)
