"""Neurons from configs: the type is a switch, and what it leaves out is said."""

import pytest
import torch

from mmspike.errors import UserError
from mmspike.neurons import ILIF, LIF, NILIF, PLIF, build, build_neuron

T = 2


def test_a_switched_type_leaves_out_what_other_neurons_have_and_says_so(monkeypatch):
    said = []
    monkeypatch.setattr(build, 'print_log', lambda text, *_: said.append(text))
    build._tell_foreign.cache_clear()
    integer = dict(type='mmspike.NILIF', levels=8, v_threshold=0.5)
    for _ in range(2):
        neuron = build_neuron({**integer, 'type': 'mmspike.LIF'})
    assert isinstance(neuron, LIF) and neuron.v_threshold == 0.5
    assert said == ['LIF has no levels, so levels=8 of the config is left out.']
    assert isinstance(build_neuron(dict(type=ILIF, tau=3.0)), ILIF)
    assert said[1:] == ['ILIF has no tau, so tau=3.0 of the config is left out.']


def test_an_option_that_no_neuron_has_is_refused():
    with pytest.raises(TypeError, match='taau'):
        build_neuron(dict(type='mmspike.LIF', taau=2.0))


LEARNED = {
    'LIF': lambda **o: LIF(T, learnable_threshold=True, **o),
    'LIF, reset': lambda **o: LIF(T, learnable_threshold=True, v_reset=-0.5, **o),
    'LIF, soft reset': lambda **o: LIF(T, learnable_threshold=True, v_reset=None, **o),
    'PLIF': lambda **o: PLIF(T, learnable_threshold=True, **o),
    'ILIF': lambda **o: ILIF(T, learnable_threshold=True, **o),
    'NILIF': lambda **o: NILIF(T, learnable_threshold=True, **o),
}


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('name', LEARNED)
def test_a_learned_threshold_is_held_above_rest(name, dtype):
    """Else it fires without input, and counts fall where the input rises."""
    neuron = LEARNED[name](v_threshold=0.5).to(dtype)
    sgd = torch.optim.SGD(neuron.parameters(), lr=0.5)
    x = torch.randn(T * 4, 16, dtype=dtype)
    for _ in range(20):
        sgd.zero_grad()
        (neuron(x).mean() * 0 + 5 * neuron.v_threshold).backward()  # Smaller and smaller.
        sgd.step()
    assert neuron.v_threshold < neuron.rest
    rising = torch.linspace(-2, 2, 41, dtype=dtype).repeat(T, 1)
    spikes = neuron(rising)
    assert neuron.rest < neuron.v_threshold
    assert not neuron(torch.zeros(T, 3, dtype=dtype)).any()
    assert (spikes[0].diff() >= 0).all() and spikes[0, -1] > 0
    neuron(x).sum().backward()
    assert all(p.grad.isfinite().all() for p in neuron.parameters())


def test_a_checkpoint_s_threshold_is_held_too(monkeypatch):
    said = []
    monkeypatch.setattr('mmspike.neurons.base.print_log', lambda text, *_: said.append(text))
    weights = {'0.v_threshold': torch.tensor(-0.1)}
    layers = torch.nn.Sequential(LIF(T, learnable_threshold=True))
    layers.load_state_dict(weights)
    assert float(layers[0].v_threshold) == pytest.approx(0.01)
    assert said == ['0.v_threshold was learned too near to rest, or below: it is held at 0.01.']
    layers.load_state_dict({'0.v_threshold': torch.tensor(0.3)})
    assert float(layers[0].v_threshold) == pytest.approx(0.3)
    assert len(said) == 1


def test_a_fixed_threshold_at_rest_is_refused():
    with pytest.raises(UserError, match=r'v_reset is None, but rest \(0.0\) must be below'):
        LIF(v_threshold=-0.5, v_reset=None)
