"""A small spiking YOLOX on generated shapes, from scratch on the CPU.

Task: Object Detection on generated shapes
Parameters: 2.7M
Paper: none
Ours: docs/results.md

    bash tools/demo.sh boxes
"""

_base_ = [
    '_base_/models/yolox_metaspike-tiny.py',
    '_base_/datasets/shapes_detection.py',
    '_base_/schedules/adamw_24e.py',
    '_base_/default_runtime.py',
]

# Where a shape is, is learnt before which it is: with a weight of 1 the mAP@50 after 12 epochs was
# 0.857 without the classes and 0.686 with them.
model = dict(bbox_head=dict(num_classes=3, loss_cls=dict(loss_weight=3.0)))

max_epochs = 20
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-2, fused=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True
    ),
]
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)
