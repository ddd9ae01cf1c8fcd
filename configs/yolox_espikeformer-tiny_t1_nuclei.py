r"""A small spiking YOLOX of E-SpikeFormer on nuclei, T x D = 1 x 4, from scratch.

Task: Object Detection on Data Science Bowl 2018
Parameters: 2.8M
Paper: none
Ours: docs/results.md

Data, budget and all but the backbone are those of yolox_metaspike-tiny_t1_nuclei.py:

    python tools/train.py configs/yolox_espikeformer-tiny_t1_nuclei.py \
        --cfg-options data_root=FOLDER
"""

_base_ = ['yolox_metaspike-tiny_t1_nuclei.py']

model = dict(
    backbone=dict(
        type='mmspike.ESpikeFormer',
        # As many parameters as the small Meta-SpikeFormer.
        arch=dict(_delete_=True, dims=(16, 32, 64, 112, 144), depths=(1, 1, 1, 2, 1), heads=8),
        neuron=dict(_delete_=True, type='mmspike.NILIF', levels=4, decay=0.25),
    ),
    neck=dict(in_channels=[32, 64, 112, 144]),
)
