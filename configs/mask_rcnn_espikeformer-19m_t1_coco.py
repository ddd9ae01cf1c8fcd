r"""Spiking Mask R-CNN, E-SpikeFormer 19M, T x D = 1 x 4, COCO 2017.

Task: Instance Segmentation on COCO 2017
Parameters: 38.7M
Paper: not known here
Ours: not measured

    bash tools/dist_train.sh configs/mask_rcnn_espikeformer-19m_t1_coco.py 6 \
        --cfg-options pretrained=FILE
"""

_base_ = ['mask_rcnn_espikeformer-10m_t1_coco.py']

pretrained = 'checkpoints/espikeformer-19m_t1_in1k.pth'
model = dict(
    backbone=dict(arch='19m', pretrained=pretrained),
    neck=dict(in_channels=[64, 128, 256, 360]),
)
