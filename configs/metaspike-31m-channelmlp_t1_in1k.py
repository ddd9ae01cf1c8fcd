"""Meta-SpikeFormer 31M with ChannelMLP in place of ChannelConv, T = 1, ImageNet-1K.

Task: Image Classification on ImageNet-1K
Parameters: 25.9M
Paper: top-1 73.4, table 5 (25.9M parameters, 6.3 mJ); the published 31M has 75.4 (7.8 mJ)
Ours: not measured, docs/ablations.md trains small

    bash tools/dist_train.sh configs/metaspike-31m-channelmlp_t1_in1k.py 8
"""

_base_ = ['metaspike-31m_t1_in1k.py']

model = dict(backbone=dict(variant=dict(channel_mixer='mlp')))
