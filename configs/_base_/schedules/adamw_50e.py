"""50 epochs of AdamW with a cosine, batch 4: small models from scratch on small data."""

_base_ = ['adamw_24e.py']

max_epochs = 50
train_cfg = dict(max_epochs=max_epochs, val_interval=25)
optim_wrapper = dict(optimizer=dict(lr=2.5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True
    ),
]
auto_scale_lr = dict(base_batch_size=4)
