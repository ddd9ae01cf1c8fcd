"""`pretrained` of the backbone: every form of a checkpoint of ours, and what is refused.

Released checkpoints stand in test_parity.py.
"""

import pytest
import torch

from mmspike.errors import UserError
from mmspike.models.backbones import MetaSpikeFormer

TINY = dict(dims=(4, 8, 16, 16, 24), depths=(1, 1, 1, 1, 1), heads=4)
FIRST = 'downsamplings.0.conv.weight'
RELEASED = {'downsample1_1.encode_conv.weight': torch.ones(32, 3, 7, 7)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'checkpoint.pth'


@pytest.fixture
def source():
    torch.manual_seed(1)
    return MetaSpikeFormer(TINY)


def start(path, arch=TINY, **options):
    torch.manual_seed(2)
    model = MetaSpikeFormer(arch, pretrained=str(path), **options)
    model.init_weights()
    return model


def named(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


@pytest.mark.parametrize('wrapper', ['state_dict', 'model', 'model_state_dict', None])
@pytest.mark.parametrize(
    'prefix',
    ['backbone.', 'module.backbone.', '_orig_mod.module.backbone.', 'backbone._orig_mod.', ''],
)
def test_a_checkpoint_of_ours_in_every_form(source, path, wrapper, prefix):
    weights = named(prefix, source.state_dict())
    if prefix:
        weights[prefix.partition('backbone.')[0] + 'head.fc.weight'] = torch.ones(2, 3)
    torch.save({wrapper: weights, 'epoch': 1} if wrapper else weights, path)
    loaded, expected = start(path).state_dict(), source.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_adapters_are_new_and_the_rest_is_loaded(path):
    """Also where the checkpoint is of a detector, with adapters of its own."""
    torch.manual_seed(1)
    source = MetaSpikeFormer(TINY, out_channels=(8,) * 5).state_dict()
    torch.save({'state_dict': named('backbone.', source)}, path)
    for width in (8, 6):
        loaded = start(path, out_channels=(width,) * 5).state_dict()
        for name, value in loaded.items():
            new = name.startswith('adapters.') and name.endswith('conv.weight')
            assert name.startswith('adapters.') or torch.equal(value, source[name])
            assert not new or value.shape != source[name].shape or (value != source[name]).any()


def test_a_second_call_loads_nothing(source, path):
    torch.save(source.state_dict(), path)
    model = start(path)
    with torch.no_grad():
        model.downsamplings[0].conv.weight.zero_()
    model.init_weights()
    assert not model.downsamplings[0].conv.weight.any()


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda w: named('layer1.', w), 'is of another network, with weights such as layer1.'),
        (lambda w: {'head.fc.weight': torch.ones(2, 3)}, 'is of another network'),
        (lambda w: {}, 'with weights such as none'),
        (lambda w: {**w, FIRST: torch.ones(5, 3, 7, 7)}, r'is \(5, 3, 7, 7\) there and \(4, 3'),
        (lambda w: {k: v for k, v in w.items() if 'stages.3' not in k}, r'it lacks stages\.3\.'),
        (lambda _: {**RELEASED, 'head_dist.b': torch.ones(1)}, "'head_dist.b' is not a parameter"),
    ],
)
def test_what_does_not_fit_is_refused(source, path, change, words):
    torch.save({'model': change(source.state_dict())}, path)
    with pytest.raises(UserError, match=words) as caught:
        start(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ('arch', 'first'),
    [('15m', 'metaspike-15m_t1_in1k'), ('55m', 'metaspike-55m_t1_in1k'), (TINY, 'a classifier')],
)
def test_where_no_file_is_the_three_ways_out_are_named(path, arch, first):
    with pytest.raises(UserError, match='which is not there: train') as caught:
        start(path, arch)
    ways = (str(path), first, 'pretrained=FILE', 'github.com/BICLab', 'pretrained=None')
    assert all(way in caught.value.sentence for way in ways)


@pytest.mark.parametrize('wrong', ['', False, 3])
def test_what_is_no_file_is_refused(wrong):
    with pytest.raises(UserError, match='but it must be a checkpoint file, or None'):
        MetaSpikeFormer(TINY, pretrained=wrong)


def test_two_starts_are_refused():
    init_cfg = dict(type='Pretrained', checkpoint='other.pth')
    for cfg in (init_cfg, [init_cfg]):
        with pytest.raises(UserError, match="pretrained='a.pth', and a checkpoint in its init_cfg"):
            MetaSpikeFormer(TINY, pretrained='a.pth', init_cfg=cfg)
    MetaSpikeFormer(TINY, pretrained='a.pth', init_cfg=dict(type='Kaiming', layer='Conv2d'))
