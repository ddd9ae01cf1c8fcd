"""What cannot be used for classification is refused in one sentence, also by the tools."""

import cli
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmspike.commands.infer import infer
from mmspike.commands.spikes import spikes
from mmspike.datasets.moving_shapes import generate_moving_shapes
from mmspike.datasets.shape_crops import cut_shapes
from mmspike.errors import UserError

from .conftest import ROOT, arguments

pytest.importorskip('mmpretrain', reason='classifiers are models of mmpretrain')

SHAPES = ROOT / 'configs' / 'metaspike-tiny_t1_shapes.py'
EVENTS = ROOT / 'configs' / 'metaspike-tiny_t8_moving_shapes.py'
TEACHER = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmspike.MetaSpikeFormer',
        arch=dict(dims=(8, 8, 8, 8, 8), depths=(1,) * 5, heads=2),
        time_reduction='mean',
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=8, num_classes=3),
)


@pytest.fixture
def crops(shapes):
    cut_shapes(shapes)
    return shapes


def train(root, work_dir, config, *options):
    options = [
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        *options,
    ]
    return cli.train(arguments(root, work_dir, *options, config=config))


def test_a_teacher_whose_checkpoint_does_not_fit(crops, tmp_path):
    config = Config.fromfile(SHAPES)
    config.model.update(
        type='mmspike.DistilledSpikeClassifier',
        teacher=TEACHER,
        teacher_checkpoint=str(tmp_path / 'teacher.pth'),
    )
    config.model.head.type = 'mmspike.SpikeDistilledClsHead'
    config.dump(tmp_path / 'distilled.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        weights = MODELS.build(TEACHER).state_dict()
    weights['backbone.stages.0.0.token_mixer.norm.weight'] = torch.ones(9)
    torch.save({'state_dict': weights}, tmp_path / 'teacher.pth')
    with pytest.raises(UserError) as refused:
        train(crops, tmp_path / 'work', tmp_path / 'distilled.py')
    sentence = refused.value.sentence
    assert f"'{tmp_path}/teacher.pth' is of another model" in sentence
    assert 'token_mixer.norm.weight is (9,) there and (8,) in the config' in sentence
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_more_classes_than_the_head_has(crops, tmp_path):
    message = 'The model has num_classes=2, but CustomDataset has 3 classes; .* model.head to'
    with pytest.raises(UserError, match=message):
        train(crops, tmp_path, SHAPES, 'model.head.num_classes=2')


def test_pictures_of_sequences(tmp_path):
    data = generate_moving_shapes(tmp_path / 'data', 4, 4)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(Config.fromfile(EVENTS).model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'epoch_1.pth')
    start = [str(EVENTS), str(tmp_path / 'epoch_1.pth')]
    message = r'the config tests on sequences \(LoadEvents\); .* --out'
    with pytest.raises(UserError, match='--show-dir shows single pictures, but ' + message):
        cli.test([*start, '--show-dir', str(tmp_path), '--cfg-options', f'data_root={data}'])
    torch.save(np.zeros(3), tmp_path / 'a.png')
    with pytest.raises(UserError, match='this command shows single pictures, but ' + message):
        infer([*start, str(tmp_path / 'a.png')])
    with pytest.raises(UserError, match=message):
        spikes([*start, str(tmp_path / 'a.png')])
