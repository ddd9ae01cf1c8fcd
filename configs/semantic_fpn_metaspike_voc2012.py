"""Spiking Semantic FPN, Meta-SpikeFormer 15M, T = 1, VOC2012 with its own 1464 masks.

Task: Semantic Segmentation on PASCAL VOC 2012
Parameters: 16.5M
Paper: none, table 10 has T = 4 alone, which starts from this; 80k iterations, else as ADE20K
Ours: not measured

The paper counts 1,460 training and 1,456 test images, where these lists have 1,464 and 1,449.

    bash tools/dist_train.sh configs/semantic_fpn_metaspike_voc2012.py 4
    python tools/test.py configs/semantic_fpn_metaspike_voc2012.py CHECKPOINT
"""

_base_ = [
    '_base_/models/semantic_fpn_metaspike.py',
    '_base_/datasets/voc2012.py',
    '_base_/schedules/adamw_160k.py',
    '_base_/segmentation_runtime.py',
]

pretrained = 'checkpoints/metaspike-15m_t1_in1k.pth'
model = dict(backbone=dict(pretrained=pretrained), decode_head=dict(num_classes=21))
train_cfg = dict(max_iters=80000, val_interval=8000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=1500, end=80000),
]
