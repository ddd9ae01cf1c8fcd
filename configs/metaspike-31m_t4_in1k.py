"""Meta-SpikeFormer 31M, T = 4, ImageNet-1K, 20 epochs from the result of T = 1.

Task: Image Classification on ImageNet-1K
Parameters: 31.3M
Paper: top-1 77.2, table 1 (31.3M parameters, 32.8 mJ); table 8 gives the recipe
Ours: not measured

    bash tools/dist_train.sh configs/metaspike-31m_t4_in1k.py 8
"""

_base_ = ['metaspike-15m_t4_in1k.py']

load_from = 'work_dirs/metaspike-31m_t1_in1k/epoch_200.pth'
model = dict(
    backbone=dict(arch='31m'),
    head=dict(in_channels=480),
)
