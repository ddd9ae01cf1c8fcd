r"""Spiking YOLOX, E-SpikeFormer 19M, T x D = 1 x 4, COCO 2017.

Task: Object Detection on COCO 2017
Parameters: 20.7M
Paper: not known here
Ours: not measured

    bash tools/dist_train.sh configs/yolox_espikeformer-19m_t1_coco.py 8 \
        --cfg-options pretrained=FILE
"""

_base_ = ['yolox_espikeformer-10m_t1_coco.py']

pretrained = 'checkpoints/espikeformer-19m_t1_in1k.pth'
model = dict(backbone=dict(arch='19m', pretrained=pretrained))
