r"""A small spiking Semantic FPN on CamVid, T = 1, up to 8 spikes a step, from scratch on the CPU.

Task: Semantic Segmentation on CamVid
Parameters: 2.1M
Paper: none
Ours: mIoU 58.6, docs/results.md

Weights see binary spikes once it is unrolled (``--deploy unroll``). The last commands train it with
binary neurons, and its ANN twin, in folders of their own:

    python tools/train.py configs/semantic_fpn_metaspike-tiny_t1_camvid.py
    python tools/test.py configs/semantic_fpn_metaspike-tiny_t1_camvid.py CHECKPOINT --deploy unroll
    python tools/train.py configs/semantic_fpn_metaspike-tiny_t1_camvid.py \
        --work-dir work_dirs/camvid_lif --cfg-options model.backbone.neuron.type=mmspike.LIF
    python tools/train.py configs/semantic_fpn_metaspike-tiny_t1_camvid.py \
        --work-dir work_dirs/camvid_twin --cfg-options model.backbone.neuron.type=ReLU
"""

_base_ = [
    '_base_/models/semantic_fpn_metaspike.py',
    '_base_/datasets/camvid.py',
    '_base_/schedules/adamw_160k.py',
    '_base_/segmentation_runtime.py',
]

neck_channels = 64
# The square root of the median class frequency over each class's own, in the training part.
class_weight = [0.5, 0.4, 2.1, 0.4, 1.0, 0.7, 1.9, 2.0, 0.9, 2.7, 3.9]
model = dict(
    data_preprocessor=dict(size=(192, 256)),
    backbone=dict(
        arch=dict(_delete_=True, dims=(16, 32, 64, 128, 160), depths=(1, 1, 1, 2, 1), heads=8),
        # From scratch a lower threshold keeps the first iterations from being silent; a count of 8
        # then stands for 4, behind a norm four times what is usual.
        neuron=dict(type='mmspike.NILIF', levels=8, v_threshold=0.5),
        out_indices=(1, 2, 3, 4),
    ),
    neck=dict(in_channels=[32, 64, 128, 160], out_channels=neck_channels),
    decode_head=dict(
        in_channels=[neck_channels] * 4,
        feature_strides=[4, 8, 16, 16],
        channels=neck_channels,
        num_classes=11,
        loss_decode=dict(class_weight=class_weight),
    ),
)

max_iters = 2000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=1000))
optim_wrapper = dict(optimizer=dict(lr=2.5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=max_iters),
]
auto_scale_lr = dict(base_batch_size=4)
randomness = dict(seed=0)
