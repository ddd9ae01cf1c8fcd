"""Energy, proof and heat maps of models that analysis knows nothing of, against other counters."""

import json

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmspike.analysis import FiringRateRecorder
from mmspike.analysis.backbone import LayerNames
from mmspike.analysis.energy_meter import E_AC, E_MAC, EnergyMeter
from mmspike.analysis.energy_report import describe
from mmspike.analysis.spike_driven import OperandRecorder, randomize_norms
from mmspike.analysis.spike_kinds import ANALOG, INTEGERS, SPIKES
from mmspike.analysis.spike_pictures import draw_heat_maps, draw_rates
from mmspike.commands.check import check
from mmspike.commands.energy import energy
from mmspike.commands.spikes import spikes
from mmspike.deploy import reparameterize
from mmspike.errors import UserError
from mmspike.layers import (
    SpikeConv2d,
    SpikeConvTranspose2d,
    SpikeLinear,
    SpikeReadoutLinear,
    make_spiking,
)
from mmspike.models.backbones import MetaSpikeFormer
from mmspike.neurons import LIF, repeat_time, set_time_steps

T, B = 2, 2


@pytest.fixture(params=['mmdet', 'mmpretrain'])
def resnet(request):
    """A stock ResNet-18 made spiking, which takes the images of all time steps."""
    pytest.importorskip(request.param, reason='its ResNet')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(request.param):
        model = MODELS.build(dict(type=f'{request.param}.ResNet', depth=18))
    make_spiking(model, analog=('conv1',))
    randomize_norms(set_time_steps(model, T)).train(False)  # A ResNet's returns nothing.
    return reparameterize(model, 'spike')


@pytest.fixture
def images():
    torch.manual_seed(1)
    return repeat_time(torch.randn(B, 3, 64, 96), T)


def test_energy_is_the_operations_of_torch_s_counter_times_the_rates(resnet, images):
    with torch.no_grad(), EnergyMeter(resnet) as meter:
        resnet(images)
    found = meter.energy()
    with torch.no_grad(), FiringRateRecorder(resnet) as recorder:
        resnet(images)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        resnet(images)
    macs = {
        name.removeprefix('ResNet.'): sum(flops.values()) / 2
        for name, flops in counter.get_flop_counts().items()
    }
    picojoule = macs['conv1'] * E_MAC
    for layer, rates in recorder.rates.items():
        picojoule += macs[layer.removesuffix('.neuron')] * float(rates.double().mean()) * E_AC
    assert found.images == B
    assert found.total() == pytest.approx(picojoule * 1e-9 / B, rel=1e-6)
    assert found.total() == found.total(every_step=True), 'every image was encoded'
    assert found.twin() == pytest.approx(counter.get_total_flops() / 2 / T / B * E_MAC * 1e-9)
    assert found.not_run == []
    keys = [cost.layer.key for cost in found.costs]
    assert keys[:2] == [('Stage conv1', '', 'conv1'), ('Stage layer1', '', '0.conv1')]
    assert ('Stage layer4', '', '1.conv2') in keys
    assert len(set(keys)) == len(keys) == 20
    row = describe(found, found.costs[1])
    assert row['values'] == SPIKES
    assert 0 < row['nonzero'] == pytest.approx(row['average'], rel=1e-12)


def test_the_proof(resnet, images):
    with torch.no_grad(), OperandRecorder(resnet) as recorder:
        resnet(images)
    kinds = {operand.name: operand.verdict for operand in recorder.operands}
    assert kinds.pop('conv1') == 'image'
    assert len(kinds) == 19 and set(kinds.values()) == {SPIKES}
    assert recorder.not_run == []
    assert all(0 < o.nonzero == o.rate < 1 for o in recorder.operands[1:])
    resnet.layer2[0].conv2.neuron = nn.Identity()
    with torch.no_grad(), OperandRecorder(resnet) as recorder:
        resnet(images)
    assert [o.name for o in recorder.operands if o.verdict == ANALOG] == ['layer2.0.conv2']


def test_heat_maps_have_a_row_for_each_stage(resnet, images):
    names = LayerNames(resnet)
    with torch.no_grad(), FiringRateRecorder(resnet, keep_map=names.in_block) as recorder:
        resnet(images)
    picture = images[0].permute(1, 2, 0).numpy()
    figure = draw_heat_maps(recorder, names, picture, picture.shape[:2])
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel().startswith('stage')]
    # The neurons before a downsampling fire on the maps of the stage before.
    sizes = ['24 x 16', '12 x 8', '6 x 4', '3 x 2']
    assert labels == [f'stage layer{i + 1}\n{size}' for i, size in enumerate(sizes)]
    assert sum(len(axes.images) == 2 for axes in figure.axes) == 4 * T
    ticks = [
        label.get_text() for label in draw_rates(recorder.rates, names).axes[0].get_yticklabels()
    ]
    assert ticks[0] == 'layer1  0.conv1' and len(set(ticks)) == len(ticks) == 19


OWN_BACKBONE = """
from mmpretrain.models import ResNet
from mmpretrain.registry import MODELS

from mmspike.layers import make_spiking
from mmspike.neurons import repeat_time, set_time_steps


@MODELS.register_module()
class OwnSpikingResNet(ResNet):
    def __init__(self, time_steps, **kwargs):
        super().__init__(**kwargs)
        self.time_steps = self.out_time_steps = time_steps
        set_time_steps(make_spiking(self, analog=('conv1',)), time_steps)

    def forward(self, x):
        return super().forward(repeat_time(x, self.time_steps))
"""
OWN_CONFIG = """
custom_imports = dict(imports=['own_spiking_resnet'])
default_scope = 'mmpretrain'
model = dict(
    type='mmspike.SpikeImageClassifier', neck=dict(type='GlobalAveragePooling'),
    data_preprocessor=dict(mean=[127.5] * 3, std=[50.0] * 3, to_rgb=True, num_classes=3),
    backbone=dict(type='OwnSpikingResNet', depth=18, time_steps=2),
    head=dict(type='mmspike.SpikeLinearClsHead', num_classes=3, in_channels=512))
test_dataloader = dict(dataset=dict(
    type='CustomDataset', data_prefix='images', metainfo=dict(classes=('a', 'b', 'c')),
    pipeline=[dict(type='mmspike.LoadImageFromFile'), dict(type='PackInputs')]))
"""


def test_the_commands_take_a_backbone_of_a_user(tmp_path, monkeypatch, capsys):
    pytest.importorskip('mmpretrain', reason='its ResNet and classifier')
    (tmp_path / 'own_spiking_resnet.py').write_text(OWN_BACKBONE)
    config = tmp_path / 'own.py'
    config.write_text(OWN_CONFIG)
    monkeypatch.syspath_prepend(tmp_path)
    operands = check([str(config), '--size', '64'])
    assert len(operands) == 21
    assert 'spike-driven: all 21 operations but the first see spikes' in capsys.readouterr().out
    picture = tmp_path / 'picture.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)).save(picture)
    out = ['--out-dir', str(tmp_path / 'out')]
    found = energy([str(config), '--images', str(picture), *out])
    assert (found.images, found.time_steps) == (1, T)
    assert found.costs[0].layer.key == ('Stage conv1', '', 'conv1')
    assert found.costs[-1].layer.key == ('head', '', 'head.fc')
    assert float(found.costs[0].macs.sum()) == T * 64 * 3 * 49 * 32 * 48
    spikes([str(config), str(picture), *out])
    layers = json.loads((tmp_path / 'out' / 'firing_rates.json').read_text())['layers']
    parts = [*(f'stage layer{i}' for i in range(1, 5)), 'head']
    assert list(dict.fromkeys(layer['part'] for layer in layers)) == parts
    assert (tmp_path / 'out' / 'heat_maps.png').stat().st_size > 10_000


class Counts(LIF):
    """Fires up to three times a step."""

    def forward(self, x):
        return x.round().clamp(0, 3)


class Own(nn.Module):
    """A classifier of a user: it encodes once, and has an attention of its own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.conv = SpikeConv2d(8, 8, 3, padding=1, groups=2, neuron=dict(type=LIF))
        self.counted = SpikeConv2d(8, 4, 1, neuron=dict(type=Counts))
        self.up = SpikeConvTranspose2d(4, 4, 3, stride=2, neuron=dict(type=LIF))
        self.neuron = LIF()
        self.fc = SpikeReadoutLinear(4, 5)
        self.scale = nn.Linear(5, 5)

    def forward(self, x):
        x = repeat_time(4 * self.stem(x), T)
        x = self.up(4 * self.counted(9 * self.conv(x) + 1))
        x = self.neuron(9 * x).flatten(2)
        return self.scale(self.fc(torch.einsum('ncp,ndp->ncd', x, x.cos()).mean(dim=2)))


def test_a_user_s_own_classifier_with_counts_and_products():
    torch.manual_seed(0)
    model = set_time_steps(Own(), T).eval()
    seen = {}
    for name, module in model.named_modules():
        if name.endswith('neuron'):
            module.register_forward_hook(
                lambda _, __, out, name=name: seen.update({name: out.double()})
            )
    x = torch.randn(B, 3, 16, 16)
    with torch.no_grad(), EnergyMeter(model) as meter:
        model(x)
        model(x)
    found = meter.energy()
    assert (found.images, found.time_steps) == (2 * B, T)
    costs = {cost.layer.name: cost for cost in found.costs}
    assert list(costs) == ['stem', 'conv', 'counted', 'up', 'einsum', 'fc', 'scale']
    stem = costs['stem']
    assert (stem.values, stem.repeats) == (ANALOG, T)
    assert float(stem.macs.sum()) == 2 * B * 27 * 8 * 64
    assert found.millijoule(stem, every_step=True) == T * found.millijoule(stem)
    assert costs['counted'].values == INTEGERS
    for name, neuron, macs in (
        ('conv', 'conv.neuron', 9 * 4 * 8 * 64),
        ('counted', 'counted.neuron', 8 * 4 * 64),
        ('up', 'up.neuron', 9 * 4 * 4 * 64),
        ('einsum', 'neuron', 4 * 4 * 17 * 17),
    ):
        each = seen[neuron].unflatten(0, (T, B)).flatten(1)
        assert costs[name].macs.tolist() == [2 * B * macs] * T
        torch.testing.assert_close(costs[name].rates, each.mean(dim=1))
        assert costs[name].nonzero == pytest.approx(float((each != 0).double().mean()))
    assert 1.5 * costs['counted'].nonzero < float(costs['counted'].rates.mean()) > 1
    assert costs['fc'].macs.tolist() == [2 * B * 4 * 5] * T
    assert costs['scale'].values == ANALOG, 'it stands behind the average over time'
    assert costs['scale'].macs.tolist() == [2 * B * 5 * 5]


def test_what_a_chip_merges_is_not_counted_unmerged():
    arch = dict(dims=(4,) * 5, depths=(1,) * 5, heads=2)
    with pytest.raises(UserError, match=r'^stages.0.0.token_mixer is not merged .*reparameterize'):
        EnergyMeter(MetaSpikeFormer(arch).eval())


def test_analog_parts_stay_and_must_be_there():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    with pytest.raises(UserError, match="Sequential has no part named 'stem', which analog names"):
        make_spiking(module, analog=('stem',))
    make_spiking(module, analog=('2',))
    assert isinstance(module[0], SpikeConv2d) and isinstance(module[1], nn.Identity)
    assert type(module[2][0]) is nn.Linear and isinstance(module[2][1], nn.ReLU)
    assert isinstance(make_spiking(module)[2][0], SpikeLinear)
