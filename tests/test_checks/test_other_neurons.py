"""Weights of other neurons have the same names and shapes: a warning names both."""

import logging

import pytest
import torch
from torch import nn

from mmspike.checks.weights import check_fits, check_start
from mmspike.hooks import WholeCheckpointHook
from mmspike.models.backbones import MetaSpikeFormer
from mmspike.neurons import PLIF, name_neurons

ARCH = dict(dims=(4, 4, 8, 8, 8), depths=(1,) * 5, heads=2)


def model(kind, **options):
    return MetaSpikeFormer(ARCH, neuron=dict(type=kind, **options))


def saved(net):
    """As a run of ours saves it."""
    runner = type('Runner', (), {'model': net})
    checkpoint = dict(meta={}, state_dict=net.state_dict())
    WholeCheckpointHook().before_save_checkpoint(runner, checkpoint)
    return checkpoint


@pytest.fixture
def said(monkeypatch):
    lines = []

    def log(text, logger=None, level=logging.INFO):
        lines.append((text, level))

    monkeypatch.setattr('mmspike.neurons.build.print_log', log)
    return lines


@pytest.mark.parametrize('check', [check_fits, check_start])
def test_both_neurons_are_named(check, said):
    checkpoint = saved(model('mmspike.NILIF', levels=8))
    check(model('mmspike.LIF'), checkpoint, 'a.pth')
    ((text, level),) = said
    assert "'a.pth' was trained with the neuron NILIF with 8 levels, but the config has LIF" in text
    assert level == logging.WARNING


def test_the_same_neuron_or_one_that_is_not_told_is_no_matter(said):
    checkpoint = saved(model('mmspike.NILIF', levels=8))
    check_fits(model('mmspike.NILIF', levels=8), checkpoint, 'a.pth')
    check_fits(model('mmspike.LIF'), dict(state_dict=checkpoint['state_dict']), 'a.pth')
    assert not said


@pytest.mark.parametrize('check', [check_fits, check_start])
def test_other_time_steps_are_said(check, said):
    checkpoint = saved(model('mmspike.LIF'))
    check(model('mmspike.LIF'), checkpoint, 'a.pth')
    assert not said
    longer = MetaSpikeFormer(ARCH, time_steps=4)
    check(longer, checkpoint, 'a.pth')
    ((text, level),) = said
    assert "'a.pth' was trained at T = 1, and the config has T = 4: the weights fit" in text
    assert level == logging.INFO


def test_the_names():
    assert name_neurons(model('ReLU')) == 'ReLU'
    assert name_neurons(model('mmspike.ILIF', levels=2)) == 'ILIF with 2 levels'
    assert name_neurons(nn.Conv2d(1, 1, 1)) is None


def test_a_backbone_starts_from_other_neurons_and_learns_what_they_did_not(said, tmp_path):
    path = tmp_path / 'lif.pth'
    torch.save(saved(model('mmspike.LIF')), path)
    backbone = model('mmspike.PLIF')
    backbone.pretrained = str(path)
    backbone.load_pretrained()
    assert 'the neuron LIF, but the config has PLIF' in said[0][0]


OPTIONS = {
    'v_threshold': (dict(v_threshold=0.5), dict()),
    'tau': (dict(), dict(tau=4.0)),
    'v_reset': (dict(), dict(v_reset=None)),
    'decay_input': (dict(decay_input=False), dict()),
    'decay': (dict(type='mmspike.ILIF'), dict(type='mmspike.ILIF', decay=0.5)),
}


@pytest.mark.parametrize('name', OPTIONS)
@pytest.mark.parametrize('check', [check_fits, check_start])
def test_other_constants_are_named(check, name, said):
    was, now = (
        model(**{'kind': o.pop('type', 'mmspike.LIF'), **o}) for o in map(dict, OPTIONS[name])
    )
    check(now, saved(was), 'a.pth')
    ((text, level),) = said
    first = 'downsamplings.1.conv.neuron'
    values = [getattr(net.get_submodule(first), name) for net in (was, now)]
    assert f' of {name}={values[0]} ({first}), but the config has {name}={values[1]}' in text
    assert level == logging.WARNING


def test_what_changes_no_spike_is_no_matter(said):
    was = model('mmspike.LIF', surrogate='arctan', detach_reset=False, backend='torch')
    check_fits(model('mmspike.LIF'), saved(was), 'a.pth')
    assert not said


def test_a_threshold_that_was_learned_and_is_fixed_now(said):
    net = model('mmspike.LIF', learnable_threshold=True)
    checkpoint = saved(net)
    check_fits(net, checkpoint, 'a.pth')
    assert not said
    check_fits(model('mmspike.LIF'), checkpoint, 'a.pth')
    assert 'of v_threshold=learned' in said[0][0]


def test_another_neuron_in_few_places(said):
    was, now = model('mmspike.LIF'), model('mmspike.LIF')
    now.downsamplings[1].conv.neuron = PLIF(1)
    checkpoint = saved(was)
    checkpoint['state_dict'] = now.state_dict()  # What a PLIF learns is none of the matter here.
    check_fits(now, checkpoint, 'a.pth')
    ((text, _),) = said
    assert ' of type=LIF (downsamplings.1.conv.neuron), but the config has type=PLIF' in text


def test_a_backbone_that_starts_from_a_whole_model(said, tmp_path):
    whole = nn.Module()
    whole.backbone = model('mmspike.LIF', v_threshold=0.5)
    torch.save(saved(whole), tmp_path / 'a.pth')
    for threshold in (0.5, 1.0):
        backbone = model('mmspike.LIF', v_threshold=threshold)
        backbone.pretrained = str(tmp_path / 'a.pth')
        backbone.load_pretrained()
    ((text, _),) = said
    assert 'of v_threshold=0.5 (downsamplings.1' in text
