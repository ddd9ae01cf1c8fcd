r"""Spiking Mask R-CNN, E-SpikeFormer 10M, T x D = 1 x 4, COCO 2017.

Task: Instance Segmentation on COCO 2017
Parameters: 29.8M
Paper: not known here
Ours: not measured

FILE is the authors' file as it is (docs/pretraining.md). All but the backbone is as in
mask_rcnn_metaspike_coco.py, the schedule too, for the paper's is not known here:

    bash tools/dist_train.sh configs/mask_rcnn_espikeformer-10m_t1_coco.py 6 \
        --cfg-options pretrained=FILE
"""

_base_ = ['mask_rcnn_metaspike_coco.py']

pretrained = 'checkpoints/espikeformer-10m_t1_in1k.pth'
model = dict(
    backbone=dict(
        type='mmspike.ESpikeFormer',
        arch='10m',
        neuron=dict(type='mmspike.NILIF', levels=4, decay=0.25),
        pretrained=pretrained,
    ),
    neck=dict(in_channels=[48, 96, 192, 240]),
)
