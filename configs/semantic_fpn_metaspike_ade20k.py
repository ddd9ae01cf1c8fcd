r"""Spiking Semantic FPN, Meta-SpikeFormer 15M, T = 1, ADE20K.

Task: Semantic Segmentation on ADE20K
Parameters: 16.5M
Paper: mIoU 32.3, table 4 (16.5M parameters, 22.1 mJ)
Ours: not measured

    bash tools/dist_train.sh configs/semantic_fpn_metaspike_ade20k.py 4
    python tools/test.py configs/semantic_fpn_metaspike_ade20k.py CHECKPOINT

The batch is 5 a process, 20 in all on 4 GPUs; elsewhere add --auto-scale-lr. The backbone
starts from ImageNet, as the paper's does: --cfg-options pretrained=FILE names a checkpoint of
metaspike-15m_t1_in1k.py, or a released one as it is; pretrained=None starts from scratch.
"""

_base_ = [
    '_base_/models/semantic_fpn_metaspike.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/adamw_160k.py',
    '_base_/segmentation_runtime.py',
]

pretrained = 'checkpoints/metaspike-15m_t1_in1k.pth'
model = dict(backbone=dict(pretrained=pretrained))
