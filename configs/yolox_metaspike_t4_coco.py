r"""Spiking YOLOX, Meta-SpikeFormer 15M, T = 4, COCO 2017.

Task: Object Detection on COCO 2017
Parameters: 16.8M
Paper: mAP@50 50.3 (another YOLO), table 9 (16.8M parameters, 70.7 mJ); see T = 1
Ours: not measured

It starts from the result of T = 1, whose checkpoint has the same parameters:

    bash tools/dist_train.sh configs/yolox_metaspike_t4_coco.py 8 --cfg-options \
        load_from=work_dirs/yolox_metaspike_t1_coco/epoch_300.pth
"""

_base_ = ['yolox_metaspike_t1_coco.py']

model = dict(backbone=dict(time_steps=4))
