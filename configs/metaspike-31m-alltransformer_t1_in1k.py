"""Meta-SpikeFormer 31M of transformer blocks alone, T = 1, ImageNet-1K.

Task: Image Classification on ImageNet-1K
Parameters: 26.2M
Paper: top-1 71.7, table 5 (26.2M parameters, 5.4 mJ); the published 31M has 75.4 (7.8 mJ)
Ours: not measured, docs/ablations.md trains small

    bash tools/dist_train.sh configs/metaspike-31m-alltransformer_t1_in1k.py 8
"""

_base_ = ['metaspike-31m_t1_in1k.py']

model = dict(backbone=dict(variant=dict(conv_stages=0)))
