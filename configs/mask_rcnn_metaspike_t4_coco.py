r"""Spiking Mask R-CNN, Meta-SpikeFormer 15M, T = 4, COCO 2017.

Task: Instance Segmentation on COCO 2017
Parameters: 34.9M
Paper: none, not reported at T = 4
Ours: not measured

It starts from the result of T = 1, whose checkpoint has the same parameters:

    bash tools/dist_train.sh configs/mask_rcnn_metaspike_t4_coco.py 6 --cfg-options \
        load_from=work_dirs/mask_rcnn_metaspike_coco/epoch_24.pth
"""

_base_ = ['mask_rcnn_metaspike_coco.py']

model = dict(backbone=dict(time_steps=4))
