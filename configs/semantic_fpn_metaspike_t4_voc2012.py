"""Spiking Semantic FPN, Meta-SpikeFormer 15M, T = 4, VOC2012, from the result of T = 1.

Task: Semantic Segmentation on PASCAL VOC 2012
Parameters: 16.5M
Paper: mIoU 58.1, table 10 (16.5M parameters, 81.4 mJ)
Ours: not measured

One command, once T = 1 is trained; another checkpoint is --cfg-options load_from=FILE:

    bash tools/dist_train.sh configs/semantic_fpn_metaspike_t4_voc2012.py 4
"""

_base_ = ['semantic_fpn_metaspike_voc2012.py']

load_from = 'work_dirs/semantic_fpn_metaspike_voc2012/iter_80000.pth'
pretrained = None  # All weights come from load_from.
model = dict(backbone=dict(time_steps=4, pretrained=pretrained))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
