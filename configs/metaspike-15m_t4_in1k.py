"""Meta-SpikeFormer 15M, T = 4, ImageNet-1K, 20 epochs from the result of T = 1.

Task: Image Classification on ImageNet-1K
Parameters: 15.1M
Paper: top-1 74.1, table 1 (15.1M parameters, 16.7 mJ); table 8 gives the recipe
Ours: not measured

    bash tools/dist_train.sh configs/metaspike-15m_t4_in1k.py 8
"""

_base_ = ['metaspike-15m_t1_in1k.py']

load_from = 'work_dirs/metaspike-15m_t1_in1k/epoch_200.pth'
model = dict(backbone=dict(time_steps=4))
train_dataloader = dict(batch_size=42)
train_cfg = dict(max_epochs=20)
optim_wrapper = dict(optimizer=dict(lr=2e-5))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=2,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=2, end=20, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=336)
