r"""Spiking Mask R-CNN on MS-ResNet-18, nuclei of the 2018 Data Science Bowl, from scratch, T = 1.

Task: Instance Segmentation on Data Science Bowl 2018
Parameters: 13.2M
Paper: none
Ours: docs/results.md

All but the backbone is that of mask_rcnn_metaspike-tiny_t1_nuclei.py. The last command trains the
ANN twin, in a folder of its own:

    python tools/train.py configs/mask_rcnn_spikeresnet18_t1_nuclei.py \
        --cfg-options data_root=FOLDER
    python tools/train.py configs/mask_rcnn_spikeresnet18_t1_nuclei.py --work-dir FOLDER \
        --cfg-options data_root=FOLDER model.backbone.neuron.type=ReLU
"""

_base_ = ['mask_rcnn_metaspike-tiny_t1_nuclei.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmspike.SpikeResNet',
        depth=18,
        time_steps=1,
        neuron=_base_.model.backbone.neuron,
        pretrained=None,
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
