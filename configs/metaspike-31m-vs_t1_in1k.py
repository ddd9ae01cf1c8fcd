"""Meta-SpikeFormer 31M with vanilla shortcuts, T = 1, ImageNet-1K.

Task: Image Classification on ImageNet-1K
Parameters: 31.3M
Paper: does not converge, table 5 (31.3M parameters)
Ours: not measured, docs/ablations.md trains small

    bash tools/dist_train.sh configs/metaspike-31m-vs_t1_in1k.py 8
"""

_base_ = ['metaspike-31m_t1_in1k.py']

model = dict(backbone=dict(variant=dict(shortcut='vs')))
