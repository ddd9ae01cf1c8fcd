"""Values of a config that mmengine and torch would stumble over late, or not at all."""

import pytest
from mmengine.config import Config
from torch import nn

from mmspike.checks.settings import check_one_output, check_values
from mmspike.errors import UserError

TEXT = """
train_dataloader = dict(batch_size=2, num_workers=0)
val_dataloader = dict(batch_size=1, num_workers=2)
test_dataloader = None
train_cfg = dict(max_epochs=1, val_interval=1)
optim_wrapper = dict(optimizer=dict(lr=0.0, weight_decay=0), clip_grad=dict(norm_type=2))
default_hooks = dict(checkpoint=dict(interval=-1))
randomness = dict(seed=None)
"""


@pytest.fixture
def config():
    return Config.fromstring(TEXT, '.py')


@pytest.mark.parametrize(
    'key, value, expected',
    [
        ('train_dataloader.batch_size', 0, 'a whole number from 1'),
        ('train_dataloader.batch_size', True, 'a whole number from 1'),
        ('train_cfg.max_epochs', 'two', 'a whole number from 1'),
        ('train_cfg.max_iters', 1e3, 'a whole number from 1'),
        ('train_cfg.val_interval', 0, 'a whole number from 1'),
        ('optim_wrapper.clip_grad.max_norm', 0, 'a number above 0'),
        ('default_hooks.checkpoint.interval', 0, 'a whole number from 1, or -1 for never,'),
        ('auto_scale_lr.base_batch_size', 0, 'a whole number from 1'),
        ('randomness.seed', -1, 'a whole number from 0 to 4294967295'),
    ],
)
def test_a_value_out_of_range(config, key, value, expected):
    check_values(config, ('train', 'val', 'test'))
    config.merge_from_dict({key: value})
    with pytest.raises(UserError) as caught:
        check_values(config, ('train', 'val'))
    assert caught.value.sentence == (
        f'{key} is {value!r}, but {expected} was expected; correct it in the config or in '
        '--cfg-options.'
    )


def test_only_what_runs_is_looked_at(config):
    config.merge_from_dict({'train_cfg.max_epochs': 0, 'train_dataloader.batch_size': 0})
    check_values(config, ('val',))


@pytest.mark.parametrize(
    'num_classes, out_channels, use_sigmoid, fine',
    [
        (1, 1, False, False),
        (1, 1, True, False),
        (2, 1, False, False),
        (3, 1, True, False),
        (2, 1, True, True),
        (2, 2, False, True),
    ],
)
def test_a_segmentor_of_one_output(num_classes, out_channels, use_sigmoid, fine):
    heads = pytest.importorskip('mmseg.models.decode_heads', reason='a head of mmseg')
    loss = dict(type='CrossEntropyLoss', use_sigmoid=use_sigmoid)
    numbers = dict(in_channels=4, channels=4, num_classes=num_classes, out_channels=out_channels)
    model = nn.Module()
    model.decode_head = heads.FCNHead(**numbers, loss_decode=loss)
    if fine:
        return check_one_output(model)
    with pytest.raises(
        UserError, match=f'model.decode_head has one output for num_classes={num_classes}'
    ):
        check_one_output(model)


@pytest.mark.parametrize(
    'head, fine', [('LinearClsHead', False), ('MultiLabelLinearClsHead', True)]
)
def test_a_classifier_of_one_class(head, fine):
    heads = pytest.importorskip('mmpretrain.models.heads', reason='a head of mmpretrain')
    model = nn.Module()
    model.head = getattr(heads, head)(num_classes=1, in_channels=4)
    if fine:
        return check_one_output(model)
    with pytest.raises(UserError, match='model.head has one output'):
        check_one_output(model)
