"""A package of somebody else adds a surrogate, a backbone, a head, a dataset and a config.

CONTRIBUTING.md names the places; here they are registered from outside, and used end to end.
"""

import json

import cli
import pytest
import torch

from mmspike.checkpoint import load_checkpoint_file
from mmspike.commands.check import check
from mmspike.commands.infer import infer
from mmspike.neurons import LIF

from .conftest import arguments

PACKAGE = """
import torch
from mmengine.model import BaseModule
from mmseg.datasets import BaseSegDataset
from mmseg.models.decode_heads import FCNHead

from mmspike.layers import ConvNorm, SpikingHead, spike_conv_norm
from mmspike.neurons import default_neuron, repeat_time, set_time_steps
from mmspike.neurons.surrogate import DEFAULT_ALPHA, SLOPES
from mmspike.registry import DATASETS, MODELS

SLOPES['cosine'] = lambda x, alpha: alpha * torch.cos((alpha * x).clamp(-1.57, 1.57))
DEFAULT_ALPHA['cosine'] = 2.0


@MODELS.register_module()
class ThreeLayers(BaseModule):
    def __init__(self, time_steps, neuron=None, init_cfg=None):
        super().__init__(init_cfg)
        self.time_steps = self.out_time_steps = time_steps
        with default_neuron(neuron):
            self.stem = ConvNorm(torch.nn.Conv2d(3, 8, 3, stride=4, padding=1))
            self.stages = torch.nn.ModuleList([spike_conv_norm(8, 8, 3), spike_conv_norm(8, 8, 3)])
        set_time_steps(self, time_steps)

    def forward(self, x):
        x = repeat_time(self.stem(x), self.time_steps)
        for stage in self.stages:
            x = stage(x)
        return (x,)


@MODELS.register_module()
class OwnHead(SpikingHead, FCNHead):
    readouts = ('conv_seg',)


@DATASETS.register_module()
class OwnShapes(BaseSegDataset):
    METAINFO = dict(
        classes=('background', 'circle', 'rectangle', 'triangle'),
        palette=[[235, 235, 235], [220, 20, 60], [0, 160, 90], [60, 90, 220]],
    )
"""
CONFIG = """
_base_ = '{base}'
custom_imports = dict(imports=['own_package'])
model = dict(
    type='mmspike.SpikeEncoderDecoder',
    backbone=dict(
        _delete_=True,
        type='mmspike.ThreeLayers',
        time_steps=2,
        neuron=dict(type='mmspike.LIF', surrogate='cosine', v_threshold=0.5),
    ),
    decode_head=dict(type='mmspike.OwnHead', in_channels=8),
)
train_dataloader = dict(dataset=dict(type='mmspike.OwnShapes', metainfo=None))
val_dataloader = dict(dataset=dict(type='mmspike.OwnShapes', metainfo=None))
test_dataloader = val_dataloader
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    pytest.importorskip('mmseg', reason='a segmentor is extended')
    (tmp_path / 'own_package.py').write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    base = cli.__file__.replace('cli.py', 'test_tools/tiny_fcn.py')
    file = tmp_path / 'own.py'
    file.write_text(CONFIG.format(base=base))
    return file


def test_it_trains_tests_shows_and_proves(shapes, tmp_path, config):
    work_dir = tmp_path / 'work'
    runner = cli.train(arguments(shapes, work_dir, config=config))
    neurons = [m for m in runner.model.modules() if isinstance(m, LIF)]
    assert {(m.surrogate, m.time_steps) for m in neurons} == {('cosine', 2)}
    assert len(neurons) == 5  # Of two stages, and of the three layers of the head.
    weights = load_checkpoint_file(work_dir / 'epoch_1.pth')['state_dict']
    stage = 'backbone.stages.1.conv.weight'
    assert torch.equal(weights[stage], runner.model.state_dict()[stage])
    file = str(work_dir / 'epoch_1.pth')
    metrics = cli.test([str(config), file, *arguments(shapes, tmp_path / 'test')])
    assert 0 < metrics['mIoU'] <= 100
    picture = str(shapes / 'val' / '000001.png')
    infer([str(config), file, picture, '--out-dir', str(tmp_path / 'out')])
    assert json.loads((tmp_path / 'out' / 'predictions.json').read_text())['predictions']
    operands = check([str(config), '--size', '64'])
    assert [operand.name for operand in operands if operand.is_first] == ['backbone.stem']
    assert {operand.kind for operand in operands if not operand.is_first} == {'spikes'}
