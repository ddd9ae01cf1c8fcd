"""The recorder against spikes worked out by hand, and against the neurons' own outputs."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmspike.analysis import FiringRateRecorder, find_neurons, mean_map
from mmspike.analysis.spike_driven import randomize_norms
from mmspike.errors import UserError
from mmspike.layers import SpikeConv2d, SpikeLinear
from mmspike.neurons import LIF, fold, set_time_steps

# tau = 2, threshold 1: U = V + (X - V) / 2. Worked out on paper, T = 3, two samples of two neurons:
#   sample 0, neuron 0: X = 2.0 2.0 0.0  U = 1.0 1.0 0.0   S = 1 1 0
#   sample 0, neuron 1: X = 1.5 1.5 0.0  U = 0.75 1.125 0  S = 0 1 0
#   sample 1, neuron 0: X = 0.0 2.0 2.0  U = 0.0 1.0 1.0   S = 0 1 1
#   sample 1, neuron 1: X = 0.0 0.0 0.0                    S = 0 0 0
CURRENTS = [[[2.0, 1.5], [0.0, 0.0]], [[2.0, 1.5], [2.0, 0.0]], [[0.0, 0.0], [2.0, 0.0]]]
RATES = [1 / 4, 3 / 4, 1 / 4]


@pytest.fixture
def neuron():
    return nn.Sequential(LIF(time_steps=3))


def folded(currents):
    """Fold ``[T, B, C]`` as the models do."""
    return fold(torch.tensor(currents))


def test_rates_by_hand(neuron):
    with FiringRateRecorder(neuron) as recorder:
        neuron(folded(CURRENTS))
    assert recorder.rates['0'].tolist() == RATES
    assert recorder.records['0'].spikes.tolist() == [1, 3, 1]
    assert recorder.records['0'].elements == 4 and recorder.records['0'].calls == 1


def test_forwards_add_up_with_the_weight_of_their_size(neuron):
    with FiringRateRecorder(neuron) as recorder:
        neuron(folded(CURRENTS))
        neuron(folded([[[0.0, 0.0]]] * 3))  # One silent sample beside the two.
        neuron(torch.zeros(0, 2))
    expected = [rate * 4 / 6 for rate in RATES]
    assert recorder.rates['0'].tolist() == pytest.approx(expected)
    assert recorder.records['0'].calls == 2


def test_nothing_counts_outside_and_entering_again_goes_on(neuron):
    recorder = FiringRateRecorder(neuron)
    neuron(folded(CURRENTS))
    assert recorder.rates == {} and recorder.not_run == ['0']
    for _ in range(2):
        with recorder:
            neuron(folded(CURRENTS))
        neuron(folded(CURRENTS))
    assert recorder.records['0'].elements == 8
    assert not neuron[0]._forward_hooks


def test_hooks_go_when_the_forward_fails(neuron):
    with pytest.raises(UserError), FiringRateRecorder(neuron):
        neuron(torch.zeros(4, 2))  # Not a multiple of T.
    assert not neuron[0]._forward_hooks


def test_maps_by_hand():
    model = nn.ModuleDict(dict(a=LIF(time_steps=2), b=LIF(time_steps=2)))
    x = torch.zeros(2, 2, 1, 2, 3)  # [T, B, C, H, W]
    x[0, 0, 0, 1, 2] = x[1, 1, 0, 0, 0] = 2.0
    with FiringRateRecorder(model, keep_map=lambda name: True) as recorder:
        model['a'](fold(x))
        model['b'](fold(torch.zeros(2, 2, 3, 2, 3)))
    spikes = recorder.records['a'].spike_map
    assert spikes.nonzero().tolist() == [[0, 1, 2], [1, 0, 0]]
    # One of 2 neurons fires there in a, none of 6 in b.
    assert mean_map(recorder.records.values())[0, 1, 2] == pytest.approx(1 / 8)
    with pytest.raises(UserError, match='image of another size'), recorder:
        model['a'](torch.zeros(4, 1, 3, 3))


def test_maps_are_kept_of_the_layers_asked_for():
    model = nn.ModuleDict(dict(a=LIF(time_steps=2), b=LIF(time_steps=2)))
    with FiringRateRecorder(model, keep_map=lambda name: name == 'a') as recorder:
        for layer in model.values():
            layer(torch.zeros(4, 1, 2, 2))
    assert recorder.records['a'].spike_map is not None
    assert recorder.records['b'].spike_map is None


@pytest.fixture(scope='module')
def backbone():
    arch = dict(dims=(8,) * 5, depths=(1,) * 5, heads=2)
    cfg = dict(type='mmspike.MetaSpikeFormer', arch=arch, time_steps=2, out_indices=(0, 1, 2, 3))
    return randomize_norms(MODELS.build(cfg)).eval()


def test_backbone_in_order_of_execution_with_the_outputs_of_its_neurons(backbone):
    outs = {}
    handles = [
        neuron.register_forward_hook(lambda m, i, out, name=name: outs.update({name: out}))
        for name, neuron in find_neurons(backbone).items()
    ]
    with torch.no_grad(), FiringRateRecorder(backbone) as recorder:
        backbone(torch.randn(3, 3, 32, 48))
    for handle in handles:
        handle.remove()
    assert list(recorder.rates) == list(outs)
    for name, out in outs.items():
        first, second = out[:3].mean().item(), out[3:].mean().item()  # Time-major, T = 2, B = 3.
        assert recorder.rates[name].tolist() == pytest.approx([first, second], abs=1e-6)
    assert any(rate[0] != rate[1] for rate in recorder.rates.values())
    assert recorder.rates['stages.0.0.token_mixer.depthwise.neuron'].min() > 0
    # Stage 4 is not asked for, and so does not run.
    assert recorder.not_run and all('.4.' in name for name in recorder.not_run)


def test_every_neuron_of_a_layer_is_found():
    layers = nn.Sequential(SpikeConv2d(1, 1, 1), nn.Sequential(SpikeLinear(1, 1)))
    assert list(find_neurons(layers)) == ['0.neuron', '1.0.neuron']


def test_ann_twin_does_not_spike():
    twin = nn.Sequential(SpikeConv2d(1, 1, 1, neuron=dict(type='ReLU')))
    with pytest.raises(UserError, match=r'0\.neuron is a ReLU, which does not spike'):
        FiringRateRecorder(twin)


class Graded(nn.Module):
    """A neuron of a user's own, whose outputs are not spikes."""

    time_steps = 2

    def forward(self, x):
        return x / 2


def test_foreign_neuron_is_counted_if_it_spikes_and_refused_if_not():
    layer = SpikeLinear(1, 1)
    layer.neuron = Graded()
    with pytest.raises(UserError, match='neuron is a Graded, which does not spike'):
        with FiringRateRecorder(layer):
            layer(torch.ones(4, 1))
    with FiringRateRecorder(layer) as recorder:
        layer(torch.tensor([[2.0], [0.0], [2.0], [2.0]]))
    assert recorder.rates['neuron'].tolist() == [0.5, 1.0]


def test_model_without_neurons():
    with pytest.raises(UserError, match='has no spiking neuron'):
        FiringRateRecorder(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()))


def test_another_number_of_time_steps(neuron):
    with pytest.raises(UserError, match='ran with 3 time steps and then with 2'):
        with FiringRateRecorder(neuron):
            neuron(folded(CURRENTS))
            set_time_steps(neuron, 2)(torch.zeros(4, 2))
