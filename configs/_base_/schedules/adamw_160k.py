"""160k iterations of AdamW with polynomial decay (appendix C.3 of the paper).

The paper gives no weight decay for it: 0.05, that of its ImageNet recipe, is our choice.
"""

train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=1500, end=160000),
]
# --auto-scale-lr scales the rate by (processes x batch_size) / base_batch_size.
auto_scale_lr = dict(enable=False, base_batch_size=20)
