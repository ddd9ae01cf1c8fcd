"""Meta-SpikeFormer 15M, T = 8, HAR-DVS, direct training.

Task: Action Recognition on HAR-DVS
Parameters: 14.9M
Paper: top-1 47.5 (18.3M), table 2 (direct training, T = 8)
Ours: not measured

This is the 15M of ImageNet, and its recipe is our choice:

    bash tools/dist_train.sh configs/metaspike-15m_t8_hardvs.py 8
    python tools/test.py configs/metaspike-15m_t8_hardvs.py CHECKPOINT

The batch is 16 a process, 128 in all on 8 GPUs; elsewhere add --auto-scale-lr.
"""

_base_ = [
    '_base_/models/metaspike_classifier.py',
    '_base_/datasets/hardvs.py',
    '_base_/schedules/adamw_24e.py',
    '_base_/classification_runtime.py',
]

max_epochs = 50
model = dict(
    # Event frames are drawings: no camera's mean, and no order of colours to keep.
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=False),
    backbone=dict(time_steps=8, in_channels=3),
    head=dict(num_classes=300),
)
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR', begin=5, end=max_epochs, by_epoch=True, convert_to_iter_based=True
    ),
]
auto_scale_lr = dict(base_batch_size=128)
