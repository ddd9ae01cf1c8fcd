"""Converted released checkpoints, against what the released classifier computes."""

from argparse import Namespace

import numpy as np
import pytest
import torch
from mmengine.runner.checkpoint import load_checkpoint
from released import golden, golden_images, released_checkpoint
from torch import nn

from mmspike.checks.weights import check_pretrained
from mmspike.commands.convert import convert_checkpoint
from mmspike.models.backbones import MetaSpikeFormer
from mmspike.models.backbones.meta_spikeformer_released import RELEASED
from mmspike.neurons import LIF, mean_over_time


@pytest.fixture(scope='module')
def converted(tmp_path_factory):
    """The 15M checkpoint, released and converted, as files."""
    folder = tmp_path_factory.mktemp('released')
    # The authors' training script saves its arguments too.
    released = {**released_checkpoint('15m'), 'args': Namespace(lr=1e-3)}
    torch.save(released, folder / 'released.pth')
    convert_checkpoint(folder / 'released.pth', folder / 'converted.pth')
    return folder / 'converted.pth'


def from_backbone(checkpoint, prefix='backbone.'):
    return dict(type='Pretrained', checkpoint=str(checkpoint), prefix=prefix)


class Classifier(nn.Module):
    """Mean over H and W of the membrane potentials, LIF, linear, mean over T."""

    def __init__(self, checkpoint, time_steps, **start):
        super().__init__()
        self.backbone = MetaSpikeFormer('15m', time_steps=time_steps, **start).double()
        self.backbone.init_weights()
        weights = torch.load(checkpoint)['state_dict']
        self.neuron = LIF(time_steps)
        self.weight, self.bias = weights['head.fc.weight'], weights['head.fc.bias']
        self.time_steps = time_steps

    def forward(self, x):
        outs = self.backbone(x)
        spikes = self.neuron(outs[-1].mean((-1, -2)))
        logits = nn.functional.linear(spikes, self.weight, self.bias)
        return outs, mean_over_time(logits, self.time_steps)


@pytest.mark.parametrize(
    ('start', 'time_steps'), [('released', 1), ('released', 4), ('converted', 1), ('init_cfg', 4)]
)
def test_15m_reproduces_the_released_numbers(converted, start, time_steps):
    expected = golden(time_steps)
    if start == 'init_cfg':
        options = dict(init_cfg=from_backbone(converted))
    else:
        options = dict(pretrained=str(converted.with_name(f'{start}.pth')))
    model = Classifier(converted, time_steps, **options).eval()
    rates = []
    for module in model.modules():
        if isinstance(module, LIF):
            module.register_forward_hook(lambda _, __, out: rates.append(out.mean().item()))
    with torch.no_grad():
        outs, logits = model(golden_images())
    for name, out in zip(('1a', '1b', '2', '3', '4'), outs, strict=True):
        out = out.unflatten(0, (time_steps, 2)).numpy()
        np.testing.assert_allclose(out.mean((-1, -2)), expected[f'stage{name}'], atol=1e-9, rtol=0)
        np.testing.assert_allclose(
            out[:, :, :8, :4, :4], expected[f'stage{name}_corner'], atol=1e-9, rtol=0
        )
    np.testing.assert_allclose(logits.numpy(), expected['logits'], atol=1e-9, rtol=0)
    # The golden rates are listed in the order in which the neurons fire.
    np.testing.assert_allclose(rates, expected['firing_rates'], atol=1e-9, rtol=0)


@pytest.mark.parametrize('size', ['15m', '31m', '55m'])
def test_every_weight_finds_its_place(size, tmp_path):
    released = released_checkpoint(size, distilled=size == '55m')
    torch.save(released, tmp_path / 'released.pth')
    convert_checkpoint(tmp_path / 'released.pth', tmp_path / 'converted.pth')
    backbone = MetaSpikeFormer(size)
    load_checkpoint(nn.ModuleDict({'backbone': backbone}), str(tmp_path / 'converted.pth'))
    weights = torch.load(tmp_path / 'converted.pth')['state_dict']
    own = {f'backbone.{name}' for name in backbone.state_dict()}
    heads = {'head.fc.weight', 'head.fc.bias'}
    if size == '55m':
        heads |= {'head.fc_kd.weight', 'head.fc_kd.bias'}
    assert weights.keys() == own | heads
    assert len(weights) == len(released['model'])
    backbone.load_state_dict({k[9:]: v for k, v in weights.items() if k in own}, strict=True)


@pytest.mark.parametrize(
    'name', ['backbone.stages.0.0.norm', 'layer1.0.conv1.weight', 'head_dist.b']
)
def test_foreign_name(name):
    with pytest.raises(ValueError, match='is not a parameter of a released Meta-SpikeFormer'):
        RELEASED.convert_name(name)


def test_a_checkpoint_of_another_size_is_refused(converted):
    init_cfg = from_backbone(converted)
    check_pretrained(MetaSpikeFormer('15m', init_cfg=[init_cfg]))
    with pytest.raises(ValueError, match=r'downsamplings.0.conv.weight is \(32, .* and \(64, '):
        check_pretrained(MetaSpikeFormer('55m', init_cfg=[init_cfg]))
    with pytest.raises(ValueError, match='it lacks downsamplings.0.conv.weight'):
        check_pretrained(MetaSpikeFormer('15m', init_cfg=from_backbone(converted, 'model.')))
    for path in (converted, converted.with_name('released.pth')):
        with pytest.raises(ValueError, match=r'another size.*conv.weight is \(32, .* and \(48, '):
            check_pretrained(MetaSpikeFormer('31m', pretrained=str(path)))
