"""Spiking Mask R-CNN on MS-ResNet-18, T = 1, COCO 2017.

Task: Instance Segmentation on COCO 2017
Parameters: 31.3M
Paper: none
Ours: not measured

    bash tools/dist_train.sh configs/mask_rcnn_spikeresnet18_t1_coco.py 6
    python tools/test.py configs/mask_rcnn_spikeresnet18_t1_coco.py CHECKPOINT

All but the backbone is that of mask_rcnn_metaspike_coco.py. The backbone starts from the ImageNet
weights of the ordinary ResNet-18, torchvision's file as it is
(https://download.pytorch.org/models/resnet18-f37072fd.pth).
"""

_base_ = ['mask_rcnn_metaspike_coco.py']

pretrained = 'checkpoints/resnet18-f37072fd.pth'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmspike.SpikeResNet',
        depth=18,
        time_steps=1,
        neuron=dict(type='mmspike.LIF'),
        pretrained=pretrained,
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
