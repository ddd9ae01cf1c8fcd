"""Meta-SpikeFormer 31M, T = 1, ImageNet-1K, from scratch.

Task: Image Classification on ImageNet-1K
Parameters: 31.3M
Paper: top-1 75.4, table 1 (31.3M parameters, 7.8 mJ); table 8 gives the recipe
Ours: not measured

    bash tools/dist_train.sh configs/metaspike-31m_t1_in1k.py 8
"""

_base_ = ['metaspike-15m_t1_in1k.py']

model = dict(
    backbone=dict(arch='31m'),
    head=dict(in_channels=480),
)
