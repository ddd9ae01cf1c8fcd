"""Spiking YOLOX, Meta-SpikeFormer 15M, T = 1, COCO 2017, from scratch.

Paper: table 9, mAP@0.5 of 45.0 (16.8M parameters, 34.8 mJ), of a lightweight YOLOv5 that the
authors re-implemented spike-driven. It is not public, and its neck cannot be derived to the digit:
this is mmdet's YOLOX with as many parameters, trained as mmdet trains it, for the paper gives no
recipe. Ours: not measured.

    bash tools/dist_train.sh configs/yolox_metaspike_t1_coco.py 8
    python tools/test.py configs/yolox_metaspike_t1_coco.py CHECKPOINT

The batch is 8 a process, 64 in all on 8 GPUs; elsewhere add --auto-scale-lr.
"""

_base_ = [
    '_base_/models/yolox_metaspike.py',
    '_base_/datasets/coco_mosaic.py',
    '_base_/schedules/sgd_300e.py',
    '_base_/yolox_runtime.py',
]

model = dict(
    data_preprocessor=dict(
        batch_augments=[
            dict(
                type='BatchSyncRandomResize',
                random_size_range=(480, 800),
                size_divisor=32,
                interval=10,
            )
        ]
    )
)
