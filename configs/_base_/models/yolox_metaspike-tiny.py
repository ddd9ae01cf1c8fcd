"""A small spiking YOLOX, to be trained from scratch on small pictures and a CPU."""

_base_ = ['yolox_metaspike.py']

channels = 64
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, dims=(16, 32, 64, 128, 160), depths=(1, 1, 1, 2, 1), heads=8),
        # From scratch a lower threshold keeps the first iterations from being silent.
        neuron=dict(v_threshold=0.5),
        out_channels=None,
    ),
    data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3),
    neck=dict(in_channels=[64, 128, 160], out_channels=channels),
    bbox_head=dict(in_channels=channels, feat_channels=channels),
)
