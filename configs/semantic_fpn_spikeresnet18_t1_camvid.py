r"""Spiking Semantic FPN on MS-ResNet-18, CamVid, T = 1, from scratch on the CPU.

Task: Semantic Segmentation on CamVid
Parameters: 15.4M
Paper: none
Ours: mIoU 60.2, docs/results.md

Budget and neuron are those of semantic_fpn_metaspike-tiny_t1_camvid.py, the shape that of
semantic_fpn_resnet18_camvid.py, which does not spike. The last command trains its ANN twin, in a
folder of its own:

    python tools/train.py configs/semantic_fpn_spikeresnet18_t1_camvid.py
    python tools/test.py configs/semantic_fpn_spikeresnet18_t1_camvid.py CHECKPOINT
    python tools/train.py configs/semantic_fpn_spikeresnet18_t1_camvid.py \
        --work-dir work_dirs/camvid_resnet_twin --cfg-options model.backbone.neuron.type=ReLU
"""

_base_ = ['semantic_fpn_metaspike-tiny_t1_camvid.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmspike.SpikeResNet',
        depth=18,
        time_steps=1,
        neuron=_base_.model.backbone.neuron,
        pretrained=None,
    ),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=256),
    decode_head=dict(
        in_channels=[256, 256, 256, 256], feature_strides=[4, 8, 16, 32], channels=128
    ),
)
