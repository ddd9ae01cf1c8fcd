"""200 epochs of LAMB with a cosine (table 8 of the paper, T = 1)."""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Lamb', lr=6e-4, weight_decay=0.05))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=10, end=200, convert_to_iter_based=True),
]
# --auto-scale-lr scales the rate by (processes x batch_size) / base_batch_size.
auto_scale_lr = dict(enable=False, base_batch_size=1568)
