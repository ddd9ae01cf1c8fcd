"""Spiking YOLOX, Meta-SpikeFormer 15M, T = 1, COCO 2017, from scratch.

Task: Object Detection on COCO 2017
Parameters: 16.8M
Paper: mAP@50 45.0 (another YOLO), table 9 (16.8M parameters, 34.8 mJ)
Ours: not measured

The paper's is a lightweight YOLOv5 that its authors re-implemented spike-driven. It is not public,
and its neck cannot be derived to the digit: this is mmdet's YOLOX with as many parameters, trained
as mmdet trains it, for the paper gives no recipe.

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
