r"""A small spiking Mask R-CNN on nuclei, T = 1, up to 8 spikes a step, from scratch on the CPU.

Task: Instance Segmentation on Data Science Bowl 2018
Parameters: 3.6M
Paper: none
Ours: docs/results.md

The nuclei are those of the 2018 Data Science Bowl. The spiking model, with binary neurons, and its
ANN twin, in folders of their own:

    python tools/train.py configs/mask_rcnn_metaspike-tiny_t1_nuclei.py \
        --cfg-options data_root=FOLDER
    python tools/train.py configs/mask_rcnn_metaspike-tiny_t1_nuclei.py --work-dir FOLDER \
        --cfg-options data_root=FOLDER model.backbone.neuron.type=mmspike.LIF
    python tools/train.py configs/mask_rcnn_metaspike-tiny_t1_nuclei.py --work-dir FOLDER \
        --cfg-options data_root=FOLDER model.backbone.neuron.type=ReLU
"""

_base_ = [
    '_base_/models/mask_rcnn_metaspike-tiny.py',
    '_base_/datasets/nuclei_instance.py',
    '_base_/schedules/adamw_50e.py',
    '_base_/default_runtime.py',
]

model = dict(
    # A count of 8 stands for 4, behind a norm four times what is usual.
    backbone=dict(neuron=dict(type='mmspike.NILIF', levels=8)),
    roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=1000, max_per_img=500), rcnn=dict(sampler=dict(num=64))
    ),
    test_cfg=dict(rpn=dict(nms_pre=2000, max_per_img=1000), rcnn=dict(max_per_img=200)),
)

randomness = dict(seed=0)
