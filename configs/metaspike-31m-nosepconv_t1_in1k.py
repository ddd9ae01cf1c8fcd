"""Meta-SpikeFormer 31M without the SepConv of its convolutional blocks, T = 1, ImageNet-1K.

Task: Image Classification on ImageNet-1K
Parameters: 30.9M
Paper: top-1 75.1, table 5 (30.9M parameters, 5.5 mJ); the published 31M has 75.4 (7.8 mJ)
Ours: not measured, docs/ablations.md trains small

    bash tools/dist_train.sh configs/metaspike-31m-nosepconv_t1_in1k.py 8
"""

_base_ = ['metaspike-31m_t1_in1k.py']

model = dict(backbone=dict(variant=dict(token_mixer=None)))
