"""Meta-SpikeFormer 15M as a classifier: global average, neuron, linear layer, mean over T.

Time steps and neuron are written once, in the backbone.
"""

model = dict(
    type='mmspike.SpikeImageClassifier',
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type='mmspike.MetaSpikeFormer',
        arch='15m',
        time_steps=1,
        neuron=dict(type='mmspike.LIF'),
        out_indices=(4,),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='mmspike.SpikeLinearClsHead',
        in_channels=360,
        num_classes=1000,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        topk=(1, 5),
    ),
)
