"""A small spiking Semantic FPN on CamVid, T = 4, from the result of T = 1, on the CPU.

Task: Semantic Segmentation on CamVid
Parameters: 2.1M
Paper: none
Ours: mIoU 53.4 (with binary neurons), docs/results.md

    python tools/train.py configs/semantic_fpn_metaspike-tiny_t4_camvid.py
"""

_base_ = ['semantic_fpn_metaspike-tiny_t1_camvid.py']

load_from = 'work_dirs/semantic_fpn_metaspike-tiny_t1_camvid/iter_2000.pth'
model = dict(backbone=dict(time_steps=4))
max_iters = 400
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=200))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=max_iters),
]
