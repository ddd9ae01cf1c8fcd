"""A cheaper spiking Semantic FPN, from outputs 1b, 2, 3 and 4, 15M, T = 1, ADE20K.

Task: Semantic Segmentation on ADE20K
Parameters: 16.4M
Paper: none
Ours: not measured

Its finest level has stride 4, where the published one has 2:

    bash tools/dist_train.sh configs/semantic_fpn_metaspike-stride4_t1_ade20k.py 4
"""

_base_ = ['semantic_fpn_metaspike_ade20k.py']

model = dict(
    backbone=dict(out_indices=(1, 2, 3, 4)),
    neck=dict(in_channels=[64, 128, 256, 360]),
    decode_head=dict(feature_strides=[4, 8, 16, 16]),
)
