"""Meta-SpikeFormer 31M, T = 1, ImageNet-1K, from scratch.

Paper: table 8 gives the recipe (its figures could not be looked up here). Ours: not measured.

    bash tools/dist_train.sh configs/metaspike-31m_t1_in1k.py 8
"""

_base_ = ['metaspike-15m_t1_in1k.py']

model = dict(
    backbone=dict(arch='31m'),
    head=dict(in_channels=480),
)
