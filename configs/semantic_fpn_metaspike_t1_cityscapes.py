"""Spiking Semantic FPN, Meta-SpikeFormer 15M, T = 1, Cityscapes, crops of 512x1024.

Task: Semantic Segmentation on Cityscapes
Parameters: 16.5M
Paper: none
Ours: not measured

    bash tools/dist_train.sh configs/semantic_fpn_metaspike_t1_cityscapes.py 4
"""

_base_ = [
    '_base_/models/semantic_fpn_metaspike.py',
    '_base_/datasets/cityscapes.py',
    '_base_/schedules/adamw_160k.py',
    '_base_/segmentation_runtime.py',
]

pretrained = 'checkpoints/metaspike-15m_t1_in1k.pth'
model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    backbone=dict(pretrained=pretrained),
    decode_head=dict(num_classes=19),
)
