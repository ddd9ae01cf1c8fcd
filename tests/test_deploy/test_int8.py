"""Weights of 8 bits: what the layers hold is what the integers say, and sums are exact."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from narrow_models import narrow
from torch import nn

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.deploy import reparameterize
from mmspike.deploy.int8 import fraction_bits, quantize, quantize_weight
from mmspike.layers import SpikeConv2d, SpikeLinear
from mmspike.models.backbones import MetaSpikeFormer
from mmspike.neurons import NILIF, SpikingNeuron, default_neuron, set_time_steps

B, T = 2, 2
CONFIGS = Path(__file__).parents[2] / 'configs'
TINY = dict(dims=(4, 8, 16, 16, 24), depths=(1, 1, 1, 1, 1), heads=4)


def model_of(neuron):
    torch.manual_seed(0)
    return randomize_norms(MetaSpikeFormer(TINY, time_steps=T, neuron=neuron)).eval()


def test_the_integers_by_hand():
    weight = torch.tensor([[1.27, -0.635, 0.01], [0.0, 0.0, 0.0]])
    whole, scale = quantize_weight(weight, scale_bits=10)
    # 1.27 / 127 is 10.24 / 1024; the next whole number lets 1.27 be one of the integers.
    assert scale.tolist() == [11, 1]
    assert whole.tolist() == [[118, -59, 1], [0, 0, 0]]
    whole, scale = quantize_weight(weight, scale_bits=10, power_of_two=True)
    assert scale.tolist() == [16, 1]
    assert whole.tolist() == [[81, -41, 1], [0, 0, 0]]
    scale = quantize_weight(weight, scale_bits=20)[1]
    assert scale[0] == 10496  # 164 * 2**6: of 8 significant bits, not below 10485.76.


@pytest.mark.parametrize('power_of_two', [False, True])
def test_weights_are_their_integers_and_near_what_they_were(power_of_two):
    merged = reparameterize(model_of(None))
    before = {name: m.weight.clone() for name, m in merged.named_modules() if hasattr(m, 'weight')}
    with torch.no_grad():
        quantize(merged, power_of_two)
    for name, weight in before.items():
        layer = merged.get_submodule(name)
        scale = layer.scale_m.double() / 2**layer.scale_bits
        held = layer.weight_q.double() * scale.view(-1, 1, 1, 1)
        assert torch.equal(layer.weight.double(), held)
        assert layer.weight_q.dtype == torch.int8
        assert (held - weight).abs().flatten(1).amax(1).le(scale / 2 + 1e-12).all()
        most = weight.flatten(1).abs().amax(1)
        assert (scale < most.clamp(min=2**-20 * 127) / 127 * 2.01).all()
        assert all(math.log2(m) % 1 == 0 for m in layer.scale_m.tolist()) or not power_of_two
        assert layer.bias is None or torch.equal(layer.bias * 2**20, (layer.bias * 2**20).round())


@pytest.mark.parametrize('neuron', [None, dict(type='mmspike.NILIF', levels=4, v_threshold=0.3)])
def test_sums_are_exact_in_any_order(neuron):
    """Channels in reverse order give the same potentials to the bit, at every time step."""
    merged = reparameterize(model_of(neuron), 'int8').double()
    x = torch.randn(B, 3, 32, 48, dtype=torch.float64)
    seen = []
    for module in merged.modules():
        if isinstance(module, SpikingNeuron):
            module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    merged(x)
    assert all(fraction_bits(value) <= 20 for value in seen)
    first = merged.downsamplings[0]
    turned = nn.functional.conv2d(
        (x.flip(1) * 256).round() / 256,
        first.weight.flip(1),
        first.bias,
        first.stride,
        first.padding,
    )
    assert torch.equal(turned, first(x))
    assert not torch.equal(first(x), reparameterize(model_of(neuron)).double().downsamplings[0](x))


@pytest.mark.parametrize('kind', ['mmspike.LIF', 'mmspike.NILIF'])
def test_predictions_stay_near(kind):
    pytest.importorskip('mmseg', reason='the library of this config')
    config = Config.fromfile(CONFIGS / 'semantic_fpn_metaspike_ade20k.py')
    config.model.backbone.update(time_steps=T, neuron=dict(type=kind))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = randomize_norms(MODELS.build(narrow(config))).eval()
    x = torch.randn(B, 3, 64, 64)
    with torch.no_grad():
        whole, exact = (reparameterize(model, f)(x, mode='tensor') for f in ('int8', 'spike'))
    assert not torch.equal(whole, exact)
    assert torch.corrcoef(torch.stack([whole.flatten(), exact.flatten()]))[0, 1] > 0.9


def test_layers_of_every_kind_and_thresholds():
    with default_neuron(dict(type=NILIF, levels=3, v_threshold=0.3)):
        layers = nn.ModuleList(
            [SpikeLinear(5, 3), SpikeConv2d(4, 4, 3, groups=4), nn.ConvTranspose2d(3, 2, 2)]
        )
    merged = reparameterize(set_time_steps(layers, T).eval(), 'int8')
    assert [m.scale_m.shape for m in merged] == [(3,), (4,), (2,)]
    transposed = merged[2]
    held = transposed.weight_q.double() * transposed.scale_m.view(1, 2, 1, 1) / 2**12
    assert torch.equal(transposed.weight.double(), held), 'sees real values: 2**-8 times 2**-12'
    assert merged[0].neuron.v_threshold == round(0.3 * 2**20) / 2**20
    assert merged[0].neuron.unit == 1
    x = torch.full((1, 3, 2, 2), 0.3)
    assert torch.equal(transposed(x), transposed(torch.full_like(x, 77 / 256)))


def test_units():
    assert fraction_bits(0.375) == 3
    assert fraction_bits(torch.tensor([1.0, 0.25, 5.5])) == 2
    assert fraction_bits(0.1) is None
