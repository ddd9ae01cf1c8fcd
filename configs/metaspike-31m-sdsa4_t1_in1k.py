"""Meta-SpikeFormer 31M with SDSA-4, whose threshold is learned, T = 1, ImageNet-1K.

Paper: table 5, whose figures could not be looked up here.
Ours: not measured on ImageNet; docs/ablations.md trains small.

    bash tools/dist_train.sh configs/metaspike-31m-sdsa4_t1_in1k.py 8
"""

_base_ = ['metaspike-31m_t1_in1k.py']

model = dict(backbone=dict(variant=dict(attention='sdsa4')))
