"""A misspelt type or argument is one sentence; an error of code keeps its traceback."""

import importlib.util
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmspike.checks import misspelt as building
from mmspike.checks.misspelt import name_misspellings
from mmspike.engine import load_config
from mmspike.errors import UserError, did_you_mean
from mmspike.hosts import LIBRARIES
from mmspike.hosts.batches import build_model
from mmspike.hosts.inferencers import HostModel

TINY = Path(__file__).parents[2] / 'configs' / 'mask_rcnn_metaspike-tiny_t1_shapes.py'
WAY_OUT = '; correct it in the config or in --cfg-options.'


class Base(nn.Module):
    def __init__(self, first_size, second_size=2):
        super().__init__()


class Child(Base):
    def __init__(self, bug=None, child_size=1, **kwargs):
        super().__init__(**kwargs)
        if bug == 'argument':
            Base(1, third_size=3)
        if bug == 'missing':
            Base()
        if bug == 'other':
            {}['bug']
        if bug == 'value':
            raise ValueError('child_size must be\n even.')
        if bug == 'silent':
            assert child_size > 1
        if bug == 'text':
            child_size < 'two'  # noqa: B015
        if bug == 'data':
            self.read()

    def read(self):
        int('no number in a file')


def refusal(call, *args):
    with pytest.raises(UserError) as caught:
        call(*args)
    assert caught.value.sentence == str(caught.value)
    return caught.value.sentence


@pytest.fixture
def build():
    """Builds a child, which hands to its base what it does not take itself."""

    def build(**config):
        config = dict(type=Child, **config)
        with name_misspellings(config):
            return MODELS.build(config)

    return build


@pytest.mark.parametrize(
    'wrong, right', [('frist_size', 'first_size'), ('child_sise', 'child_size')]
)
def test_an_argument_that_is_misspelt(build, wrong, right):
    sentence = refusal(lambda: build(**{'first_size': 1, wrong: 1}))
    assert sentence == f'Child takes no argument {wrong} (did you mean {right}?){WAY_OUT}'


def test_an_argument_that_is_like_none(build):
    assert refusal(lambda: build(first_size=1, x=1)) == f'Child takes no argument x{WAY_OUT}'


def test_an_argument_that_is_missing(build):
    assert refusal(build) == (
        'Child needs first_size, which the config does not give; set it there.'
    )


@pytest.mark.parametrize(
    'bug, error',
    [('argument', TypeError), ('missing', TypeError), ('other', KeyError), ('data', ValueError)],
)
def test_a_bug_keeps_its_traceback(build, bug, error):
    with pytest.raises(error) as caught:
        build(first_size=1, bug=bug)
    assert not isinstance(caught.value, UserError)
    with pytest.raises(TypeError, match='no_such'):
        name_misspellings()(Child)(first_size=1, no_such=1)


@pytest.mark.parametrize(
    'bug, text',
    [
        ('value', 'child_size must be even'),
        ('silent', 'assert 1 > 1'),
        ('text', "'<' not supported between instances of 'int' and 'str'"),
    ],
)
def test_a_value_that_is_refused(build, bug, text):
    assert refusal(lambda: build(first_size=1, bug=bug)) == (
        f'Child refuses what the config gives it ({text}){WAY_OUT}'
    )
    # Built by code and not from a config.
    with pytest.raises((ValueError, AssertionError, TypeError)) as caught:
        name_misspellings()(Child)(first_size=1, bug=bug)
    assert not isinstance(caught.value, UserError)


def test_mmengines_that_raise_again_at_every_level():
    """As OpenMMLab's own did, with the class before the text."""

    config = dict(type=Child, first_size=1, frist_size=1)

    @name_misspellings(config)
    def again():
        try:
            MODELS.build(config)
        except TypeError as error:
            raise TypeError(f'class `Outer` in outer.py: {error}')  # noqa: B904

    assert refusal(again).startswith('Child takes no argument frist_size (did')


@pytest.mark.parametrize(
    'wrong, near',
    [
        ('Relu', r' \(did you mean ReLU'),
        ('MetaSpikeFormer', r' \(did you mean mmspike.MetaSpikeFormer'),
        ('mmspike.MetaSpikFormer', r' \(did you mean mmspike.MetaSpikeFormer'),
        ('Qqqqqqqq', ''),
    ],
)
def test_a_type_that_is_misspelt(wrong, near):
    with pytest.raises(
        UserError, match=f"^the type '{wrong}' is not in the registry .*model{near}.*"
    ):
        with name_misspellings():
            MODELS.build(dict(type=wrong))


def test_a_type_of_a_library_that_is_not_installed(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(building, 'find_spec', lambda name: None if name == 'mmseg' else real(name))
    with DefaultScope.overwrite_default_scope('mmengine'):
        build = name_misspellings()(lambda kind: MODELS.build(dict(type=kind)))
        sentence = refusal(build, 'mmseg.NoSuchHead')
    assert sentence.startswith("the type 'mmseg.NoSuchHead' needs mmseg, which is not installed")


@pytest.mark.parametrize(
    'key, value, sentence',
    [
        ('timesteps', 4, 'MetaSpikeFormer takes no argument timesteps (did you mean time_steps?)'),
        ('neuron.type', 'Relu', "the type 'Relu' is not in the registry mmdet::model (did"),
        (
            'neuron.type',
            'LIFF',
            "the type 'LIFF' is not in the registry mmdet::model (did you mean",
        ),
        (
            'norm_cfg',
            {'type': 'BNN'},
            "the type 'BNN' is not in the registry mmdet::model (did you",
        ),
        ('norm_cfg', {'type': 'BN', 'mom': 0.1}, 'BatchNorm2d takes no argument mom'),
        (
            'norm_cfg',
            {'type': 'GN'},
            "norm_cfg is {'type': 'GN'}, but its type must be a norm that",
        ),
        ('norm_cfg', {'typ': 'BN'}, "norm_cfg is {'typ': 'BN'}, but its type must be a norm"),
        ('neuron.v_treshold', 0.3, 'LIF takes no argument v_treshold (did you mean v_threshold?)'),
    ],
)
def test_models_and_hosts(key, value, sentence):
    pytest.importorskip('mmdet', reason='the config needs mmdet')
    config: Config = load_config(TINY, {f'model.backbone.{key}': value})
    assert refusal(build_model, config, LIBRARIES['mmdet'], None, 'cpu').startswith(sentence)
    assert refusal(HostModel, config, None, 'cpu').startswith(sentence)


@pytest.mark.parametrize('scope', ['mmengine', 'mmdet'])
def test_an_optimizer_that_is_misspelt(scope):
    if scope != 'mmengine':
        pytest.importorskip(scope, reason='its registry of optimizers is empty')
    config = dict(optimizer=dict(type='AdamX'))
    build = name_misspellings(config)(build_optim_wrapper)
    with DefaultScope.overwrite_default_scope(scope):
        sentence = refusal(build, nn.Linear(1, 1), config)
    assert re.match(r"the type 'AdamX' is not in .*optimizer \(did you mean Adam", sentence)


def test_names_that_are_near():
    assert did_you_mean('RELU', ['ReLU', 'Sigmoid']) == ' (did you mean ReLU?)'
    assert did_you_mean('b.py', {'b_.py': 'a/b_.py'}) == ' (did you mean a/b_.py?)'
    assert did_you_mean('softmax', ['ReLU', 'Sigmoid']) == ''
