"""Spiking YOLOX, Meta-SpikeFormer 15M, T = 1, COCO 2017, finetuned from ImageNet.

Task: Object Detection on COCO 2017
Parameters: 16.8M
Paper: none, its YOLO starts from scratch
Ours: not measured

The schedule is that of the paper's Mask R-CNN, 24 epochs of AdamW, its learning rate scaled from a
batch of 12 to one of 64:

    bash tools/dist_train.sh configs/yolox_metaspike-pretrained_t1_coco.py 8
"""

_base_ = [
    '_base_/models/yolox_metaspike.py',
    '_base_/datasets/coco_mosaic.py',
    '_base_/schedules/adamw_24e.py',
    '_base_/yolox_runtime.py',
]

pretrained = 'checkpoints/metaspike-15m_t1_in1k.pth'
model = dict(backbone=dict(pretrained=pretrained))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
default_hooks = dict(checkpoint=dict(interval=1))
custom_hooks = [
    *_base_.custom_hooks[:-2],
    dict(type='YOLOXModeSwitchHook', num_last_epochs=4, priority=48),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', update_buffers=True, priority=49),
]
auto_scale_lr = dict(base_batch_size=64)
