"""A checkpoint that the runner wrote loads as plain data, and nothing else does."""

import collections

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import nn

from mmspike.checkpoint import allow_mmengine_types
from mmspike.checks.weights import check_fits, check_start, pretrained_files
from mmspike.engine import UserError, load_checkpoint_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'checkpoint.pth'


def test_message_hub_survives(path):
    hub = MessageHub('checkpoint_test')
    for value in (1.0, np.float32(2), np.float64(3), torch.tensor(4.0)):
        hub.update_scalar('train/loss', value)
    hub.update_info('iter', np.int64(7))
    torch.save(dict(state_dict={}, message_hub=hub.state_dict()), path)
    loaded = load_checkpoint_file(path)['message_hub']
    assert loaded['log_scalars']['train/loss'].data[0].tolist() == [1, 2, 3, 4]
    assert loaded['runtime_info']['iter'] == 7
    # The stock loader of older mmengine calls torch.load just like this.
    assert isinstance(torch.load(path)['message_hub']['log_scalars']['train/loss'], HistoryBuffer)


class Call:
    """Unpickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'call',
    [
        Call(print, 'harm'),
        Call(getattr, nn.Linear, '__init__'),
        Call(getattr, HistoryBuffer, '__init__'),
        Call(collections.Counter, 'ok'),
    ],
)
@pytest.mark.parametrize('zipped', [True, False])
def test_only_plain_data(path, capsys, call, zipped):
    torch.save(dict(state_dict=call), path, _use_new_zipfile_serialization=zipped)
    if call.call[0] is collections.Counter:
        assert load_checkpoint_file(path)
        return
    with pytest.raises(UserError, match='must not run code'):
        load_checkpoint_file(path)
    assert not capsys.readouterr().out


def test_content_that_is_no_dict(path):
    torch.save(torch.ones(1), path)
    with pytest.raises(UserError, match='holds a Tensor'):
        load_checkpoint_file(path)


def test_allowing_twice_changes_nothing():
    allow_mmengine_types()
    before = len(torch.serialization.get_safe_globals())
    allow_mmengine_types()
    assert len(torch.serialization.get_safe_globals()) == before


def test_fits():
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    check_fits(
        target, {'state_dict': {f'module.{k}': v for k, v in source.state_dict().items()}}, 'x'
    )
    assert torch.equal(source.weight, target.weight)
    with pytest.raises(UserError, match=r'weight is \(3, 2\) there and \(4, 2\) in the config'):
        check_fits(nn.Linear(2, 4), source.state_dict(), 'x')
    with pytest.raises(UserError, match='lacks bias and 0 more'):
        check_fits(target, {'weight': source.weight}, 'x')
    with pytest.raises(UserError, match='weight is no tensor there'):
        check_fits(target, {'state_dict': {'weight': 'text'}}, 'x')


class Head(nn.Module):
    """Classifies by layers of the names that mmdet and mmseg use."""

    def __init__(self, num_classes, **outputs):
        super().__init__()
        self.num_classes = num_classes
        for name, count in outputs.items():
            self.add_module(name, nn.Conv2d(2, count, 1))


@pytest.mark.parametrize(
    'layer, outputs, there, counts',
    [
        ('conv_seg', 21, 150, (150, 21)),
        ('fc_cls', 22, 81, (80, 21)),  # With a softmax that knows what is no object.
        ('fc_cls', 21, 80, (80, 21)),
        ('retina_cls', 9 * 21, 9 * 80, (80, 21)),
        ('retina_cls', 9 * 21, 100, None),
        ('conv_seg', 1, 2, None),  # One output for two classes.
        ('rpn_cls', 21, 3, None),  # Anchors.
    ],
)
def test_both_numbers_of_classes_are_named(layer, outputs, there, counts):
    model = nn.ModuleDict({'head': Head(21, **{layer: outputs})})
    weights = nn.ModuleDict({'head': Head(0, **{layer: there})}).state_dict()
    with pytest.raises(UserError) as caught:
        check_fits(model, weights, 'x')
    if counts is None:
        assert 'is of another model' in str(caught.value)
        with pytest.raises(UserError, match='is of another model'):
            check_start(model, {'state_dict': weights}, 'x')
        return
    said = check_start(model, {'state_dict': weights}, 'x')
    expected = 'has num_classes={} and the config num_classes={}'.format(*counts)
    assert expected in said and expected in str(caught.value)
    assert f'head.{layer}' in said and '\n' not in said


def test_same_classes_are_not_mentioned():
    head = Head(3, conv_seg=3, other=5)
    assert check_start(head, head.state_dict(), 'x') is None
    assert check_start(head, Head(3, conv_seg=3).state_dict(), 'x') is None


def test_a_new_run_does_not_start_from_another_model():
    head = Head(3, conv_seg=3, other=5)
    with pytest.raises(UserError, match='is of another model: other.weight is .* load_from'):
        check_start(head, Head(3, conv_seg=3, other=4).state_dict(), 'x')
    with pytest.raises(UserError, match='holds no weight of this model'):
        check_start(head, {'backbone.weight': torch.zeros(1)}, 'x')


def test_parts_that_no_checkpoint_holds_may_be_missing():
    head = Head(3, conv_seg=3, adapters=5)
    weights = Head(3, conv_seg=3).state_dict()
    check_fits(head, weights, 'x', optional=('adapters.',))
    with pytest.raises(UserError, match='lacks adapters.weight and 1 more'):
        check_fits(head, weights, 'x')


def test_pretrained_files():
    model = dict(
        init_cfg=[dict(type='Kaiming'), dict(type='Pretrained', checkpoint='a.pth')],
        backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
        heads=[dict(init_cfg=dict(type='Pretrained', checkpoint='b.pth', prefix='head.'))],
    )
    assert list(pretrained_files(model)) == ['a.pth', 'b.pth']
