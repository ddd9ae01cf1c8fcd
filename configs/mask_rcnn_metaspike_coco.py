"""Spiking Mask R-CNN, Meta-SpikeFormer 15M, T = 1, COCO 2017: the front door.

Task: Instance Segmentation on COCO 2017
Parameters: 34.9M
Paper: mAP@50 44.0, table 3 (34.9M parameters, 49.5 mJ)
Ours: not measured

    bash tools/dist_train.sh configs/mask_rcnn_metaspike_coco.py 6
    python tools/test.py configs/mask_rcnn_metaspike_coco.py CHECKPOINT

The batch is 2 a process, 12 in all on 6 GPUs; elsewhere add --auto-scale-lr. The backbone
starts from ImageNet, as the paper's does: --cfg-options pretrained=FILE names a checkpoint of
metaspike-15m_t1_in1k.py, or a released one as it is; pretrained=None starts from scratch.
"""

_base_ = [
    '_base_/models/mask_rcnn_metaspike.py',
    '_base_/datasets/coco_instance.py',
    '_base_/schedules/adamw_24e.py',
    '_base_/default_runtime.py',
]

pretrained = 'checkpoints/metaspike-15m_t1_in1k.pth'
model = dict(backbone=dict(pretrained=pretrained))
