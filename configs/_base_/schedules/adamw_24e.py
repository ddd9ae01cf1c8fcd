"""24 epochs of AdamW with polynomial decay (appendix C.2 of the paper).

The paper gives no weight decay and no warm-up for it: 0.05, that of its ImageNet recipe, and 500
iterations are our choices.
"""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=24, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=500),
    dict(
        type='PolyLR',
        power=0.9,
        eta_min=0.0,
        begin=0,
        end=24,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
# --auto-scale-lr scales the rate by (processes x batch_size) / base_batch_size.
auto_scale_lr = dict(enable=False, base_batch_size=12)
