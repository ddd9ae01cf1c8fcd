r"""Spiking YOLOX, E-SpikeFormer 10M, T x D = 1 x 4, COCO 2017.

Task: Object Detection on COCO 2017
Parameters: 11.8M
Paper: not known here
Ours: not measured

FILE is the authors' file as it is (docs/pretraining.md). All but the backbone is as in
yolox_metaspike-pretrained_t1_coco.py, the schedule too, for the paper's is not known here:

    bash tools/dist_train.sh configs/yolox_espikeformer-10m_t1_coco.py 8 \
        --cfg-options pretrained=FILE
"""

_base_ = ['yolox_metaspike-pretrained_t1_coco.py']

pretrained = 'checkpoints/espikeformer-10m_t1_in1k.pth'
model = dict(
    backbone=dict(
        type='mmspike.ESpikeFormer',
        arch='10m',
        neuron=dict(type='mmspike.NILIF', levels=4, decay=0.25),
        pretrained=pretrained,
    ),
)
