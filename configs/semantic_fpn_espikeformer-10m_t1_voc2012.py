r"""Spiking Semantic FPN, E-SpikeFormer 10M, T x D = 1 x 4, VOC2012.

Task: Semantic Segmentation on PASCAL VOC 2012
Parameters: 11.5M
Paper: not known here
Ours: not measured

FILE is the authors' file as it is (docs/pretraining.md). All but the backbone is as in
semantic_fpn_metaspike_voc2012.py, the schedule too, for the paper's is not known here:

    bash tools/dist_train.sh configs/semantic_fpn_espikeformer-10m_t1_voc2012.py 4 \
        --cfg-options pretrained=FILE
"""

_base_ = ['semantic_fpn_metaspike_voc2012.py']

pretrained = 'checkpoints/espikeformer-10m_t1_in1k.pth'
model = dict(
    backbone=dict(
        type='mmspike.ESpikeFormer',
        arch='10m',
        neuron=dict(type='mmspike.NILIF', levels=4, decay=0.25),
        pretrained=pretrained,
    ),
    neck=dict(in_channels=[24, 48, 96, 240]),
)
