"""Spiking Mask R-CNN, Meta-SpikeFormer 55M, T = 1, COCO 2017.

Task: Instance Segmentation on COCO 2017
Parameters: 75.0M
Paper: mAP@50 51.2, table 3 (75.0M parameters, 140.8 mJ)
Ours: not measured

    bash tools/dist_train.sh configs/mask_rcnn_metaspike-55m_t1_coco.py 6
"""

_base_ = ['mask_rcnn_metaspike_coco.py']

pretrained = 'checkpoints/metaspike-55m_t1_in1k.pth'
model = dict(
    backbone=dict(arch='55m', pretrained=pretrained),
    neck=dict(in_channels=[128, 256, 512, 640]),
)
