"""A network of integer neurons, unrolled into binary sub-steps, computes what it did."""

import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from narrow_models import narrow
from torch import nn

from mmspike.analysis.energy_meter import EnergyMeter
from mmspike.analysis.spike_driven import OperandRecorder, randomize_norms
from mmspike.deploy import reparameterize
from mmspike.errors import UserError
from mmspike.hosts import library_of
from mmspike.hosts.batches import noise_batch
from mmspike.layers import SDSA3, SpikeConv2d, SpikeLinear, SpikeReadoutConv2d
from mmspike.layers.attention import ATTENTIONS
from mmspike.layers.spike_conv import unroll_counts
from mmspike.models.backbones import MetaSpikeFormer
from mmspike.neurons import ILIF, NILIF, SpikingNeuron, default_neuron, set_time_steps

CONFIGS = Path(__file__).parents[2] / 'configs'
B = 2
MODELS_OF = {
    'mask_rcnn': 'mask_rcnn_metaspike_coco',
    'yolox': 'yolox_metaspike_t1_coco',
    'semantic_fpn': 'semantic_fpn_metaspike_ade20k',
    'classifier': 'metaspike-15m_t1_in1k',
    'espikeformer': 'semantic_fpn_espikeformer-10m_t1_ade20k',
}


def test_a_count_of_s_fires_in_the_first_s_sub_steps():
    steps = unroll_counts(torch.tensor([0.0, 1.0, 3.0, 2.0]), 3)
    assert steps.tolist() == [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0]]


@pytest.fixture(autouse=True)
def double(monkeypatch):
    """Anchors are made in the default precision; NMS and the pasting of masks have no double."""
    fcn_mask_head = pytest.importorskip('mmdet.models.roi_heads.mask_heads.fcn_mask_head')
    nms = sys.modules['mmcv.ops.nms']
    choose, paste = nms.ext_module.nms, fcn_mask_head._do_paste_mask

    def in_single(function):
        return lambda x, boxes, *args, **kwargs: function(x.float(), boxes.float(), *args, **kwargs)

    monkeypatch.setattr(nms, 'ext_module', SimpleNamespace(nms=in_single(choose)))
    monkeypatch.setattr(fcn_mask_head, '_do_paste_mask', in_single(paste))
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def integer_model(name, neuron, time_steps):
    config = Config.fromfile(CONFIGS / f'{MODELS_OF[name]}.py')
    pytest.importorskip(config.default_scope, reason='the library of this config')
    config.model = narrow(config)
    config.model.backbone.update(time_steps=time_steps, neuron=neuron)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model).eval()
    return config, fire_all_levels(randomize_norms(model)).double()


def fire_all_levels(model):
    """Weights such that some neurons fire every count that they can."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.weight.data *= 3
    return model


def predictions(model, config):
    """Everything that a test step gives, in double precision."""
    library = library_of(config)
    with DefaultScope.overwrite_default_scope(library.name), torch.no_grad():
        data = model.data_preprocessor(noise_batch(config, library, 64, count=B), False)
        inputs = data['inputs'].double()
        if library.name == 'mmpretrain':
            return [model(inputs, mode='tensor')]
        samples = model(inputs, data['data_samples'], mode='predict')
        if library.name == 'mmseg':
            return [x for s in samples for x in (s.seg_logits.data, s.pred_sem_seg.data)]
        features = model.extract_feat(inputs)
    found = [s.pred_instances for s in samples]
    assert all(len(instances) for instances in found)
    return [*features, *(x for instances in found for x in instances.values())]


@pytest.mark.parametrize(
    ('name', 'time_steps', 'levels'), list(itertools.product(MODELS_OF, (1, 2), (2, 4, 8)))
)
def test_whole_models_to_1e_9(name, time_steps, levels):
    kind = 'mmspike.ILIF' if name == 'yolox' else 'mmspike.NILIF'
    config, model = integer_model(name, dict(type=kind, levels=levels), time_steps)
    counts = set()
    for module in model.modules():
        if isinstance(module, SpikingNeuron):
            module.register_forward_hook(
                lambda m, _, out: counts.update((out / m.unit).round().unique().tolist())
            )
    expected = predictions(model, config)
    assert counts == set(range(levels + 1))
    unrolled = reparameterize(model, 'unroll')
    got = predictions(unrolled, config)
    assert len(got) == len(expected)
    for own, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('kind', ['mmspike.ILIF', 'mmspike.NILIF'])
def test_the_weights_of_the_merged_form_see_counts_and_of_the_unrolled_form_spikes(kind):
    config, model = integer_model('semantic_fpn', dict(type=kind, levels=4), 2)
    seen = {}
    for form in ('spike', 'unroll'):
        merged = reparameterize(model, form)
        with OperandRecorder(merged) as recorder:
            predictions(merged, config)
        seen[form] = {operand.kind for operand in recorder.operands if not operand.is_first}
    assert seen == {'spike': {'integers'}, 'unroll': {'spikes'}}


@pytest.mark.parametrize('kind', ['mmspike.ILIF', 'mmspike.NILIF'])
def test_the_energy_of_both_forms_is_one_and_counts_every_spike(kind):
    config, model = integer_model('semantic_fpn', dict(type=kind, levels=4), 2)
    found = {}
    for form in ('spike', 'unroll'):
        merged = reparameterize(model, form)
        with EnergyMeter(merged) as meter:
            predictions(merged, config)
        found[form] = meter.energy()
    spike, unroll = found.values()
    assert unroll.total() == pytest.approx(spike.total(), rel=1e-9)
    assert unroll.twin() == pytest.approx(spike.twin(), rel=1e-9)
    assert len(unroll.costs) == len(spike.costs)
    for one, other in zip(unroll.costs, spike.costs, strict=True):
        torch.testing.assert_close(one.additions, other.additions, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(one.nonzeros, other.nonzeros, rtol=1e-9, atol=1e-9)
    counts = [cost for cost in spike.costs if cost.values == 'integers']
    assert any((cost.rates > 1).any() for cost in counts), 'a mean count, not a share'
    assert all((cost.nonzeros <= cost.macs).all() for cost in counts)


@pytest.mark.parametrize('attention', ATTENTIONS)
def test_every_attention(attention):
    torch.manual_seed(0)
    with default_neuron(dict(type=NILIF, levels=4)):
        layer = randomize_norms(nn.Sequential(ATTENTIONS[attention](8, 2)))
    layer = set_time_steps(layer, 2).double().eval()
    x = torch.randn(2 * B, 8, 5, 4, dtype=torch.float64) * 3
    for form in ('spike', 'unroll'):
        got = reparameterize(layer, form)(x)
        torch.testing.assert_close(got, layer(x), rtol=1e-9, atol=1e-9)


class Pooled(nn.Module):
    """A convolution whose output is max-pooled: the sum over sub-steps must come before."""

    def __init__(self):
        super().__init__()
        self.conv, self.readout = SpikeConv2d(3, 4, 3), SpikeReadoutConv2d(4, 2, 1)

    def forward(self, x):
        return self.readout(nn.functional.max_pool2d(self.conv(x), 2))


def test_sums_come_before_pooling_and_the_bias_once():
    with default_neuron(dict(type=NILIF, levels=3, decay=0.5)):
        layer = set_time_steps(Pooled(), 2).double().eval()
    layer.conv.bias.data += 5
    x = torch.randn(2 * B, 3, 8, 8, dtype=torch.float64) * 3
    unrolled = reparameterize(layer, 'unroll')
    assert unrolled(x).shape == (B, 2, 3, 3)
    torch.testing.assert_close(unrolled(x), layer(x), rtol=1e-9, atol=1e-9)


def test_a_linear_layer():
    with default_neuron(dict(type=NILIF)):
        layer = set_time_steps(SpikeLinear(6, 3), 2).double().eval()
    x = torch.randn(2 * B, 6, dtype=torch.float64) * 3
    torch.testing.assert_close(reparameterize(layer, 'unroll')(x), layer(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('neuron', [dict(type='mmspike.LIF'), dict(type=ILIF, levels=1)])
def test_one_level_is_the_merged_form(neuron):
    torch.manual_seed(0)
    with default_neuron(neuron):
        layer = randomize_norms(nn.Sequential(SDSA3(8, 2), SpikeConv2d(8, 4, 3)))
    layer = set_time_steps(layer, 2).double().eval()
    x = torch.randn(2 * B, 8, 5, 4, dtype=torch.float64) * 3
    unrolled = reparameterize(layer, 'unroll')
    assert torch.equal(unrolled(x), reparameterize(layer, 'spike')(x))
    assert repr(unrolled) == repr(reparameterize(layer, 'spike'))


@pytest.mark.parametrize(
    ('shortcut', 'kind', 'words'),
    [
        ('sew', 'ILIF', 'fires up to 4 spikes, but .* not go into weights alone'),
        ('vs', 'ILIF', 'fires up to 4 spikes, but .* not go into weights alone'),
        ('sew', 'NILIF', 'use mmspike.ILIF'),
    ],
)
def test_shortcuts_that_add_counts_are_refused(shortcut, kind, words):
    arch = dict(dims=(4, 8, 16, 16, 24), depths=(1, 1, 1, 1, 1), heads=4)
    neuron, variant = dict(type=f'mmspike.{kind}'), dict(shortcut=shortcut)
    model = MetaSpikeFormer(arch, neuron=neuron, variant=variant).eval()
    with pytest.raises(UserError, match=words):
        reparameterize(model, 'unroll')
