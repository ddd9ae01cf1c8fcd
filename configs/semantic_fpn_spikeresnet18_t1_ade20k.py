"""Spiking Semantic FPN on MS-ResNet-18, T = 1, ADE20K.

Task: Semantic Segmentation on ADE20K
Parameters: 15.4M
Paper: none
Ours: not measured

    bash tools/dist_train.sh configs/semantic_fpn_spikeresnet18_t1_ade20k.py 4
    python tools/test.py configs/semantic_fpn_spikeresnet18_t1_ade20k.py CHECKPOINT

Schedule and data are those of semantic_fpn_metaspike_ade20k.py, neck and head those of the paper's
ANN with a ResNet-18 (table 4, 15.5M). The backbone starts from the ImageNet weights of the ordinary
ResNet-18, torchvision's file as it is (https://download.pytorch.org/models/resnet18-f37072fd.pth).
"""

_base_ = ['semantic_fpn_metaspike_ade20k.py']

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
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=256),
    decode_head=dict(in_channels=[256, 256, 256, 256], feature_strides=[4, 8, 16, 32]),
)
