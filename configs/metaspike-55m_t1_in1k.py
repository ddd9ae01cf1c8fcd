r"""Meta-SpikeFormer 55M, T = 1, ImageNet-1K, from scratch, distilled as in DeiT.

Task: Image Classification on ImageNet-1K
Parameters: 56.0M
Paper: top-1 79.1, table 1 (55.4M parameters, 13.0 mJ; 78.0 without distillation); table 8: recipe
Ours: not measured

The teacher is any config of mmpretrain with its checkpoint:

    bash tools/dist_train.sh configs/metaspike-55m_t1_in1k.py 8 --cfg-options \
        model.teacher=TEACHER.py model.teacher_checkpoint=TEACHER.pth
"""

_base_ = ['metaspike-15m_t1_in1k.py']

model = dict(
    type='mmspike.DistilledSpikeClassifier',
    teacher=None,
    teacher_checkpoint=None,
    backbone=dict(arch='55m'),
    head=dict(type='mmspike.SpikeDistilledClsHead', in_channels=640),
)
