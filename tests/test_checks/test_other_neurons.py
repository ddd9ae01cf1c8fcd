"""Weights of other neurons have the same names and shapes: a warning names both."""

import logging

import pytest
import torch
from torch import nn

from mmspike.checks.weights import check_fits, check_start
from mmspike.hooks import WholeCheckpointHook
from mmspike.models.backbones import MetaSpikeFormer
from mmspike.neurons import name_neurons

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
