"""PLIF learns its time constant: against SpikingJelly, and against a LIF of the same tau."""

import pytest
import torch

from mmspike.errors import UserError
from mmspike.neurons import LIF, PLIF, set_time_steps

T, B = 4, 2


@pytest.mark.parametrize('decay_input', [True, False])
@pytest.mark.parametrize('v_reset', [0.0, None])
def test_spikes_and_all_gradients_equal_spikingjelly(decay_input, v_reset):
    pytest.importorskip('spikingjelly.activation_based', reason='test-only package')
    from spikingjelly.activation_based import neuron, surrogate

    torch.manual_seed(0)
    theirs = neuron.ParametricLIFNode(
        init_tau=3.0,
        decay_input=decay_input,
        v_reset=v_reset,
        detach_reset=True,
        surrogate_function=surrogate.Sigmoid(4.0),
        step_mode='m',
    ).double()
    ours = PLIF(time_steps=T, tau=3.0, decay_input=decay_input, v_reset=v_reset).double()
    x = torch.randn(T, B, 60, dtype=torch.float64) * 2
    weight = torch.randn_like(x)
    results = []
    for function in (lambda x: ours(x.flatten(0, 1)).view_as(x), theirs):
        current = x.clone().requires_grad_()
        spikes = function(current)
        (spikes * weight).sum().backward()
        results.append((spikes.detach(), current.grad))
    assert 0.05 < results[0][0].mean() < 0.95
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])
    assert ours.w.grad.abs() > 1e-3
    torch.testing.assert_close(ours.w.grad, theirs.w.grad)


def test_without_gradients_it_is_a_lif_of_the_tau_that_was_learned():
    neuron = set_time_steps(PLIF(), T)
    assert neuron.tau == 2.0
    x = torch.randn(T * B, 8, 6, 6) * 3
    with torch.no_grad():
        neuron.w += 0.7
        fast = neuron(x)
        assert torch.equal(fast, set_time_steps(LIF(tau=neuron.tau), T)(x))
    trained = neuron(x.requires_grad_())
    assert (trained != fast).float().mean() < 1e-3  # Rounding of 1 / tau.


def test_a_tau_that_cannot_be_learned_is_refused():
    with pytest.raises(UserError, match='above 1'):
        PLIF(tau=1.0)
