r"""Meta-SpikeFormer 55M, T = 4, ImageNet-1K, 20 epochs from the result of T = 1.

Task: Image Classification on ImageNet-1K
Parameters: 56.0M
Paper: top-1 80.0, table 1 (55.4M parameters, 52.4 mJ; 79.7 without distillation); table 8: recipe
Ours: not measured

    bash tools/dist_train.sh configs/metaspike-55m_t4_in1k.py 8 --cfg-options \
        model.teacher=TEACHER.py model.teacher_checkpoint=TEACHER.pth
"""

_base_ = ['metaspike-15m_t4_in1k.py']

load_from = 'work_dirs/metaspike-55m_t1_in1k/epoch_200.pth'
model = dict(
    type='mmspike.DistilledSpikeClassifier',
    teacher=None,
    teacher_checkpoint=None,
    backbone=dict(arch='55m'),
    head=dict(type='mmspike.SpikeDistilledClsHead', in_channels=640),
)
