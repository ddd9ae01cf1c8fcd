r"""Meta-SpikeFormer 55M, T = 1, ImageNet-1K, from scratch, distilled as in DeiT.

Paper: table 8 gives the recipe; the released 55M is distilled (figures could not be looked up
here). Ours: not measured. The teacher is any config of mmpretrain with its checkpoint:

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
