"""A small spiking Semantic FPN of E-SpikeFormer on CamVid, T x D = 1 x 4, from scratch.

Task: Semantic Segmentation on CamVid
Parameters: 2.1M
Paper: none
Ours: mIoU 55.7, docs/results.md

Data, budget and all but the backbone are those of semantic_fpn_metaspike-tiny_t1_camvid.py:

    python tools/train.py configs/semantic_fpn_espikeformer-tiny_t1_camvid.py
"""

_base_ = ['semantic_fpn_metaspike-tiny_t1_camvid.py']

model = dict(
    backbone=dict(
        type='mmspike.ESpikeFormer',
        # As many parameters as the small Meta-SpikeFormer.
        arch=dict(_delete_=True, dims=(16, 32, 64, 112, 144), depths=(1, 1, 1, 2, 1), heads=8),
        neuron=dict(_delete_=True, type='mmspike.NILIF', levels=4, decay=0.25),
    ),
    neck=dict(in_channels=[32, 64, 112, 144]),
)
