"""200 epochs of LAMB as E-SpikeFormer trains (its authors' command): warm-up 5, blr 6e-4.

A blr is the rate for 256 images, as that option of MAE's training script has it: the rate is scaled
to the batch in use, to 4.8e-3 at their 2048 images. The command names no optimizer, weight decay,
augmentation or loss; they are those of Meta-SpikeFormer.
"""

_base_ = ['lamb_200e.py']

param_scheduler = [
    dict(_base_.param_scheduler[0], end=5),
    dict(_base_.param_scheduler[1], begin=5),
]
auto_scale_lr = dict(enable=True, base_batch_size=256)
