"""Meta-SpikeFormer 31M with a linear layer and a norm in place of RepConv-4, T = 1, ImageNet-1K.

Paper: table 5, 29.94M parameters; its accuracy could not be looked up here.
Ours: not measured on ImageNet; docs/ablations.md trains small.

    bash tools/dist_train.sh configs/metaspike-31m-linearproj_t1_in1k.py 8
"""

_base_ = ['metaspike-31m_t1_in1k.py']

model = dict(backbone=dict(variant=dict(proj='linear')))
