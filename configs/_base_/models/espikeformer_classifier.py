"""E-SpikeFormer 10M as a classifier: global average, neuron of counts, linear layer, mean over T.

Time steps and neuron are written once, in the backbone.
"""

_base_ = ['metaspike_classifier.py']

model = dict(
    backbone=dict(
        type='mmspike.ESpikeFormer',
        arch='10m',
        neuron=dict(type='mmspike.NILIF', levels=4, decay=0.25),
    ),
    # The released linear layer sees counts from 0 to 4, all others see those by 4.
    head=dict(in_channels=240, counts=True),
)
