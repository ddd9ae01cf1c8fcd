"""Spiking Mask R-CNN with mmdet's PAFPN as its neck, Meta-SpikeFormer 15M, T = 1, COCO 2017.

Task: Instance Segmentation on COCO 2017
Parameters: 38.4M
Paper: none
Ours: not measured

The neck is the stock class with a spiking `conv_cfg`:

    bash tools/dist_train.sh configs/mask_rcnn_metaspike-pafpn_t1_coco.py 6
"""

_base_ = ['mask_rcnn_metaspike_coco.py']

model = dict(neck=dict(type='PAFPN', conv_cfg=dict(type='mmspike.SpikeConv2d')))
