"""Integer neurons against a trace by hand, autograd through the plain loop, and SpikingJelly."""

import itertools

import pytest
import torch
from torch import nn

from mmspike.errors import UserError
from mmspike.layers import SDSA3, SpikeConv2d
from mmspike.neurons import (
    ILIF,
    LIF,
    NILIF,
    default_neuron,
    fold,
    integer_cpp,
    set_time_steps,
    unfold,
)
from mmspike.neurons.integer import integer_lif

T, B = 3, 2


def run(neuron, x):
    """Run a neuron on ``[T, B, ...]``."""
    set_time_steps(neuron, len(x))
    return unfold(neuron(fold(x)), len(x))


# beta = 0.25, D = 4. Worked out on paper, two neurons side by side:
#   A: X = 2.5 1.5 -1.0  U = 2.5, 0.25 (2.5 - 2) + 1.5 = 1.625, 0.25 (1.625 - 2) - 1 = -1.09375
#      S = 2 (2.5 ties to the even), 2, 0
#   B: X = 9.0 0.25 3.5  U = 9, 0.25 (9 - 4) + 0.25 = 1.5, 0.25 (1.5 - 2) + 3.5 = 3.375
#      S = 4 (the most), 2 (1.5 ties to the even), 3
CURRENTS = [[2.5, 9.0], [1.5, 0.25], [-1.0, 3.5]]
COUNTS = [[2.0, 4.0], [2.0, 2.0], [0.0, 3.0]]
# dS/dU: 1 inside [0, 4].
INSIDE = [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]


def test_trace_by_hand():
    x = torch.tensor(CURRENTS, requires_grad=True)  # [T=3, B=2]
    counts = run(ILIF(levels=4, decay=0.25), x)
    assert counts.tolist() == COUNTS
    assert (run(NILIF(levels=4, decay=0.25), x) * 4).tolist() == COUNTS
    weight = torch.tensor([[1.0, 2.0], [4.0, 8.0], [16.0, 32.0]])
    (counts * weight).sum().backward()
    own = weight * torch.tensor(INSIDE)
    # U[t] reaches the potentials behind it with 0.25 a step, as the reset is detached.
    second = own[1] + 0.25 * own[2]
    assert x.grad.tolist() == [(own[0] + 0.25 * second).tolist(), second.tolist(), own[2].tolist()]


def test_twice_the_threshold_at_twice_the_input_fires_the_same():
    x = torch.randn(T, B, 50) * 3
    assert torch.equal(run(ILIF(v_threshold=2.0), 2 * x), run(ILIF(), x))
    assert torch.equal(run(ILIF(input_gain=8.0), 8 * x), run(ILIF(), x))


@pytest.mark.parametrize('cls', [ILIF, NILIF])
@pytest.mark.parametrize(
    ('levels', 'decay', 'threshold'), list(itertools.product([1, 5], [0.0, 0.6], [1.0, 0.7]))
)
def test_backward_equals_autograd_through_the_plain_loop(cls, levels, decay, threshold):
    torch.manual_seed(0)
    x = (torch.randn(5, B, 30, dtype=torch.float64) * 3).requires_grad_()
    weight = torch.randn(5, B, 30, dtype=torch.float64)
    neuron = cls(levels=levels, decay=decay, v_threshold=threshold)
    spikes = run(neuron, x)
    (spikes * weight).sum().backward()
    ours, x.grad = x.grad, None
    counts, _ = integer_lif(x, levels=levels, decay=decay, v_threshold=threshold)
    (counts * neuron.unit * weight).sum().backward()
    assert set(counts.flatten().tolist()) == set(range(levels + 1))
    assert torch.equal(spikes, counts * neuron.unit)
    torch.testing.assert_close(ours, x.grad, rtol=1e-12, atol=1e-12)
    assert 0 < ours.count_nonzero() < ours.numel() or decay


@pytest.mark.skipif(integer_cpp.library() is None, reason='there is no C++ compiler')
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('threshold', [1.0, 0.5, 0.7])
@pytest.mark.parametrize(('cls', 'levels'), [(ILIF, 4), (NILIF, 3), (NILIF, 8)])
def test_cpp_fires_the_counts_of_the_plain_loop(monkeypatch, cls, levels, threshold, dtype):
    """The sizes fill neither a byte nor a tile of 512."""
    torch.manual_seed(0)
    calls = []
    original = integer_cpp._call
    monkeypatch.setattr(integer_cpp, '_call', lambda *a: calls.append(a[0]) or original(*a))
    x, weight = (torch.randn(T * B, 5, 17, 13) * 3).to(dtype), torch.randn(T * B, 5, 17, 13)
    results = []
    for backend in ('torch', 'auto'):
        neuron = cls(T, levels=levels, decay=0.5, v_threshold=threshold, backend=backend)
        current = x.clone().requires_grad_()
        spikes = neuron(current)
        (spikes * weight.to(dtype)).sum().backward()
        results.append((spikes.detach(), current.grad))
        assert calls == ([] if backend == 'torch' else ['forward', 'backward'])
    (plain, plain_grad), (fast, fast_grad) = results
    if dtype == torch.float32:
        assert torch.equal(plain, fast)
        torch.testing.assert_close(fast_grad, plain_grad, rtol=1e-5, atol=1e-6)
    else:  # The loop rounds its potentials to 8 bits, C++ only what it hands on.
        assert ((plain - fast).abs() > 0.01).float().mean() < 0.05


def test_a_learned_threshold_gets_the_gradient_of_the_quotient():
    """Inside the range dS/dtheta = -U / theta^2 at T = 1; outside it is 0."""
    x = torch.tensor([[-1.0, 1.0, 2.6, 9.0]], dtype=torch.float64)
    neuron = set_time_steps(ILIF(learnable_threshold=True, v_threshold=2.0).double(), 1)
    neuron(x).sum().backward()
    assert neuron.v_threshold.grad.item() == pytest.approx(-(1.0 + 2.6) / 4)


@pytest.mark.parametrize('decay', [0.25, 0.5])
def test_counts_and_gradients_equal_spikingjelly(decay):
    jelly = pytest.importorskip('spikingjelly.activation_based.neuron', reason='test-only package')
    if not hasattr(jelly, 'ILIFNode'):
        pytest.skip('this SpikingJelly has no ILIFNode')
    from spikingjelly.activation_based import surrogate

    torch.manual_seed(0)
    theirs = jelly.ILIFNode(
        tau=1 / (1 - decay),
        surrogate_function=surrogate.MultiLevelSpikeCount(4),
        step_mode='m',
        detach_reset=True,
    )
    x = torch.randn(4, B, 3, 5, 5, dtype=torch.float64) * 3
    weight = torch.randn_like(x)
    results = []
    for function in (lambda x: run(ILIF(levels=4, decay=decay), x), theirs):
        current = x.clone().requires_grad_()
        spikes = function(current)
        (spikes * weight).sum().backward()
        results.append((spikes.detach(), current.grad))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('neuron', [ILIF(3), NILIF(3, levels=3), NILIF(3, levels=255)])
def test_a_layer_keeps_counts_in_a_byte_and_its_gradients(neuron):
    layer = SpikeConv2d(4, 4, 3)
    layer.neuron = neuron
    x = (torch.randn(T * B, 4, 7, 7) * 3).requires_grad_()
    layer.train()
    layer(x).square().sum().backward()
    grads = x.grad.clone(), layer.weight.grad.clone()
    x.grad = layer.weight.grad = None
    layer.eval()
    layer(x).square().sum().backward()
    assert torch.equal(grads[0], x.grad) and torch.equal(grads[1], layer.weight.grad)
    spikes = neuron(x.detach())
    assert neuron.pack(spikes).dtype == torch.uint8
    assert torch.equal(neuron.unpack(neuron.pack(spikes), spikes.dtype), spikes)


@pytest.mark.parametrize('cls', [ILIF, NILIF])
def test_sdsa_takes_integers_as_shares_of_the_most_that_they_can_be(cls):
    """Full counts make the sum that full spikes make, and half ones an eighth of it."""
    with default_neuron(dict(type=cls, levels=4)):
        attention = set_time_steps(SDSA3(64, 8).eval(), 1)
    unit = attention.neuron.unit
    full = torch.full((B, 64, 2, 4), 4 * unit)
    # 8 channels a head, 8 positions: 64 products of 1 at most, times 0.125 are 8: more than 4.
    assert (attention.attend(full, full, full) == 4 * unit).all()
    # Each at half: 64 / 8 * 0.125 = 1.
    assert (attention.attend(full / 2, full / 2, full / 2) == unit).all()


def test_sdsa_of_a_binary_neuron_is_that_of_the_released_models():
    """It fires at 4 on the integer sum with decayed input, at 8 where the input is as it is."""
    for options, threshold in (({}, 4.0), (dict(decay_input=False), 8.0)):
        with default_neuron(dict(type=LIF, **options)):
            assert SDSA3(16, 8).attention_neuron.v_threshold == threshold


def test_any_order_of_memory_and_a_trace():
    neuron = NILIF(T, levels=4)
    x = torch.randn(T * B, 4, 5, 5) * 3
    spikes = neuron(x)
    assert torch.equal(neuron(x.contiguous(memory_format=torch.channels_last)), spikes)
    with torch.no_grad():
        traced = torch.jit.trace(nn.Sequential(neuron).eval(), x)
        assert torch.equal(traced(x), spikes)


@pytest.mark.parametrize(
    ('options', 'value'),
    [
        (dict(levels=0), '0'),
        (dict(levels=2.0), '2.0'),
        (dict(levels=True), 'True'),
        (dict(levels=256), '256'),
        (dict(decay=1.0), '1.0'),
        (dict(decay=-0.1), '-0.1'),
        (dict(v_threshold=0.0), '0.0'),
    ],
)
def test_options_out_of_range_are_refused(options, value):
    with pytest.raises(UserError, match=value):
        ILIF(**options)
