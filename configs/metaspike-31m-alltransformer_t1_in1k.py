"""Meta-SpikeFormer 31M of transformer blocks alone, T = 1, ImageNet-1K.

Paper: table 5, 26.2M parameters; its accuracy could not be looked up here.
Ours: not measured on ImageNet; docs/ablations.md trains small.

    bash tools/dist_train.sh configs/metaspike-31m-alltransformer_t1_in1k.py 8
"""

_base_ = ['metaspike-31m_t1_in1k.py']

model = dict(backbone=dict(variant=dict(conv_stages=0)))
