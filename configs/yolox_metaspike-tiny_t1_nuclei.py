r"""A small spiking YOLOX on the nuclei of the 2018 Data Science Bowl, from scratch on the CPU.

Task: Object Detection on Data Science Bowl 2018
Parameters: 2.9M
Paper: none
Ours: docs/results.md

Pictures, sizes and epochs are those of mask_rcnn_metaspike-tiny_t1_nuclei.py. The spiking model,
with binary neurons, and its ANN twin, in folders of their own:

    python tools/train.py configs/yolox_metaspike-tiny_t1_nuclei.py \
        --cfg-options data_root=FOLDER
    python tools/train.py configs/yolox_metaspike-tiny_t1_nuclei.py --work-dir FOLDER \
        --cfg-options data_root=FOLDER model.backbone.neuron.type=mmspike.LIF
    python tools/train.py configs/yolox_metaspike-tiny_t1_nuclei.py --work-dir FOLDER \
        --cfg-options data_root=FOLDER model.backbone.neuron.type=ReLU
"""

_base_ = [
    '_base_/models/yolox_metaspike-tiny.py',
    '_base_/datasets/nuclei_detection.py',
    '_base_/schedules/adamw_50e.py',
    '_base_/default_runtime.py',
]

strides = (4, 8, 16, 32)  # Many nuclei are a few pixels wide.
model = dict(
    backbone=dict(
        out_indices=(1, 2, 3, 4),
        out_strides=strides,
        # A box is regressed from one position: counts tell it more than bits.
        neuron=dict(type='mmspike.NILIF', levels=8, v_threshold=0.5),
    ),
    neck=dict(in_channels=[32, 64, 128, 160]),
    bbox_head=dict(num_classes=1, strides=strides),
)

randomness = dict(seed=0)
