"""Spiking Semantic FPN, Meta-SpikeFormer 55M, T = 4, ADE20K, from the result of T = 1.

Task: Semantic Segmentation on ADE20K
Parameters: 59.0M
Paper: mIoU 35.3, table 4 (58.9M parameters, 183.6 mJ)
Ours: not measured

One command, once T = 1 is trained; another checkpoint is --cfg-options load_from=FILE:

    bash tools/dist_train.sh configs/semantic_fpn_metaspike-55m_t4_ade20k.py 4
"""

_base_ = ['semantic_fpn_metaspike-55m_t1_ade20k.py']

load_from = 'work_dirs/semantic_fpn_metaspike-55m_t1_ade20k/iter_160000.pth'
pretrained = None  # All weights come from load_from.
model = dict(backbone=dict(time_steps=4, pretrained=pretrained))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
