"""LIF against a trace by hand, autograd through the plain loop, and SpikingJelly."""

import itertools

import pytest
import torch

from mmspike.neurons import LIF, fold, set_time_steps, unfold
from mmspike.neurons.lif.equations import lif
from mmspike.neurons.surrogate import SLOPES

OPTIONS = list(itertools.product([0.0, -0.25, None], [True, False], [True, False]))


def run(neuron, x):
    """Run a neuron on ``[T, B, ...]``."""
    set_time_steps(neuron, len(x))
    return unfold(neuron(fold(x)), len(x))


# tau = 2, u_th = 1, two neurons side by side. Worked out on paper:
#   released (input decayed): U = V + (X - V) / 2
#     A: X = 1.5 1.5 1.5 0.5  U = 0.75 1.125 0.75 0.625  S = 0 1 0 0
#     B: X = 3.0 0.0 1.0 4.0  U = 1.5  0.0   0.5  2.25   S = 1 0 0 1
#   paper (input as it is, beta = 0.5): U = V / 2 + X
#     A: X = 0.75 0.75 0.25 0.75  U = 0.75 1.125 0.25 0.875  S = 0 1 0 0
#     B: X = 1.5 0.0 0.5 1.0      U = 1.5 0.0 0.5 1.25        S = 1 0 0 1
TRACES = {
    'released': (
        True,
        [[1.5, 3.0], [1.5, 0.0], [1.5, 1.0], [0.5, 4.0]],
        [[0.75, 1.5], [1.125, 0.0], [0.75, 0.5], [0.625, 2.25]],
    ),
    'paper': (
        False,
        [[0.75, 1.5], [0.75, 0.0], [0.25, 0.5], [0.75, 1.0]],
        [[0.75, 1.5], [1.125, 0.0], [0.25, 0.5], [0.875, 1.25]],
    ),
}
SPIKES = [[0, 1], [1, 0], [0, 0], [0, 1]]


@pytest.mark.parametrize('form', TRACES)
def test_trace_by_hand(form):
    decay_input, currents, potentials = TRACES[form]
    x = torch.tensor(currents).unsqueeze(-1)  # [T=4, B=2, 1]
    assert run(LIF(decay_input=decay_input), x).squeeze(-1).tolist() == SPIKES
    neuron, v = LIF(decay_input=decay_input), None
    for t, u in enumerate(potentials):
        s, v = neuron.stream(x[t : t + 1], v)
        after_reset = [0.0 if fired else p for p, fired in zip(u, SPIKES[t], strict=True)]
        assert v.squeeze(-1).tolist() == after_reset


def test_both_forms_fire_alike_when_the_paper_threshold_is_tau_times_the_other():
    x = torch.randn(8, 2, 50, dtype=torch.float64) * 3
    released = run(LIF(tau=2.0, v_threshold=1.0), x)
    paper = run(LIF(tau=2.0, v_threshold=2.0, decay_input=False), x)
    assert 0.05 < released.mean() < 0.95
    assert torch.equal(released, paper)


@pytest.mark.parametrize('surrogate', SLOPES)
@pytest.mark.parametrize(('v_reset', 'decay_input', 'detach_reset'), OPTIONS)
def test_backward_equals_autograd_through_the_plain_loop(
    surrogate, v_reset, decay_input, detach_reset
):
    torch.manual_seed(0)
    x = (torch.randn(5, 2, 30, dtype=torch.float64) * 2).requires_grad_()
    v = (torch.rand(2, 30, dtype=torch.float64) * 0.5).requires_grad_()
    weight, weight_v = torch.randn(5, 2, 30).double(), torch.randn(2, 30).double()
    options = dict(tau=1.7, v_reset=v_reset, decay_input=decay_input, detach_reset=detach_reset)
    neuron = LIF(**options, v_threshold=0.8, learnable_threshold=True, surrogate=surrogate).double()
    threshold = neuron.v_threshold.detach().clone().requires_grad_()

    spikes, last = neuron.stream(x, v)
    ((spikes * weight).sum() + (last * weight_v).sum()).backward()
    ours = [x.grad.clone(), v.grad.clone(), neuron.v_threshold.grad.clone()]
    x.grad = v.grad = None
    plain, plain_last = lif(
        x, v, v_threshold=threshold, surrogate=surrogate, alpha=neuron.alpha, **options
    )
    ((plain * weight).sum() + (plain_last * weight_v).sum()).backward()

    assert 0.05 < plain.mean() < 0.95
    assert torch.equal(spikes, plain)
    torch.testing.assert_close(last, plain_last)
    for mine, expected in zip(ours, [x.grad, v.grad, threshold.grad], strict=True):
        assert expected.abs().sum() > 0
        torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('steps', [1, 4, 8])
@pytest.mark.parametrize(('v_reset', 'decay_input', 'detach_reset'), OPTIONS)
def test_spikes_and_gradients_equal_spikingjelly(steps, v_reset, decay_input, detach_reset):
    jelly = pytest.importorskip('spikingjelly.activation_based', reason='test-only dependency')
    from spikingjelly.activation_based import neuron, surrogate

    del jelly
    torch.manual_seed(steps)
    theirs = neuron.LIFNode(
        tau=2.0,
        v_reset=v_reset,
        decay_input=decay_input,
        detach_reset=detach_reset,
        surrogate_function=surrogate.Sigmoid(4.0),
        step_mode='m',
    )
    ours = LIF(v_reset=v_reset, decay_input=decay_input, detach_reset=detach_reset)
    x = torch.randn(steps, 2, 3, 5, 5, dtype=torch.float64) * 2
    weight = torch.randn_like(x)
    results = []
    for function in (lambda x: run(ours, x), theirs):
        current = x.clone().requires_grad_()
        spikes = function(current)
        (spikes * weight).sum().backward()
        results.append((spikes.detach(), current.grad))
    assert 0.05 < results[1][0].mean() < 0.95
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ('name', 'alpha', 'theirs'),
    [
        ('sigmoid', 4.0, 'Sigmoid'),
        ('arctan', 2.0, 'ATan'),
        ('rectangle', 1.0, 'Rect'),
        ('triangle', 1.0, 'PiecewiseQuadratic'),
    ],
)
def test_slopes_equal_spikingjelly(name, alpha, theirs):
    pytest.importorskip('spikingjelly.activation_based', reason='test-only dependency')
    from spikingjelly.activation_based import surrogate

    x = torch.linspace(-2, 2, 83, dtype=torch.float64, requires_grad=True)
    getattr(surrogate, theirs)(alpha)(x).sum().backward()
    torch.testing.assert_close(SLOPES[name](x.detach(), alpha), x.grad)


def test_streaming_in_pieces_equals_the_whole_sequence():
    x = torch.randn(6, 2, 40) * 2
    whole, last = LIF().stream(x)
    first, v = LIF().stream(x[:2])
    rest, end = LIF().stream(x[2:], v)
    assert torch.equal(torch.cat([first, rest]), whole)
    assert torch.equal(end, last)


def test_a_spike_depends_on_the_past_alone():
    x = torch.randn(6, 2, 40) * 2
    changed = x.clone()
    changed[3:] = 9.0
    before, after = run(LIF(), x), run(LIF(), changed)
    assert torch.equal(before[:3], after[:3])
    assert not torch.equal(before[3:], after[3:])


def test_calls_are_independent():
    x = torch.rand(4, 2, 10) * 2
    neuron = LIF()
    assert torch.equal(run(neuron, x), run(neuron, x))


def test_samples_are_independent():
    x = torch.randn(4, 3, 10) * 2
    alone = run(LIF(), x[:, 1:2])
    assert torch.equal(run(LIF(), x)[:, 1:2], alone)


@pytest.mark.parametrize('v_reset', [0.0, -0.5, None])
def test_input_gain_changes_neither_spikes_nor_gradients(v_reset):
    x = torch.randn(4, 2, 60, dtype=torch.float64) * 2
    scaled, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    options = dict(v_threshold=0.5, v_reset=v_reset)
    a = run(LIF(**options, input_gain=8.0), scaled * 8)
    b = run(LIF(**options), plain)
    assert torch.equal(a, b)
    weight = torch.randn_like(b)
    (a * weight).sum().backward()
    (b * weight).sum().backward()
    torch.testing.assert_close(scaled.grad, plain.grad)


def test_fixed_threshold_is_no_parameter_and_learnable_is():
    assert not list(LIF().state_dict())
    assert [name for name, _ in LIF(learnable_threshold=True).named_parameters()] == ['v_threshold']


def test_neuron_without_time_steps():
    with pytest.raises(ValueError, match='time_steps was never set'):
        LIF()(torch.rand(2, 3))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(time_steps=0), 'time_steps is 0'),
        (dict(time_steps=1.5), 'time_steps is 1.5'),
        (dict(tau=0.5), 'tau is 0.5'),
        (dict(v_reset=1.0), 'v_reset is 1.0'),
        (dict(surrogate='relu'), "surrogate is 'relu'"),
        (dict(surrogate=dict(type='sigmoid', alfa=2)), "further options \\['alfa'\\]"),
        (dict(surrogate=dict(type='sigmoid', alpha=0)), 'positive alpha'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        LIF(**options)
