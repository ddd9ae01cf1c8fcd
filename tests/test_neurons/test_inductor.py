"""The dynamics compiled by torch fire the same spikes with the same gradients, seldom compiled."""

import itertools
import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from torch._dynamo.utils import counters

from mmspike.neurons import LIF, default_neuron, set_time_steps
from mmspike.neurons.lif import cpp, inductor
from mmspike.neurons.lif.batch_norm import came_out_of_norm
from mmspike.neurons.surrogate import SLOPES

T, B = 4, 2
needs_compiler = pytest.mark.skipif(
    cpp.library() is None, reason='there is no C++ compiler for torch.compile either'
)
OPTIONS = list(itertools.product([0.0, None], [True, False], [True, False]))


def both(**options):
    return [set_time_steps(LIF(**options, backend=b), T) for b in ('torch', 'inductor')]


def run(neuron, x, weights):
    x = x.clone().requires_grad_()
    spikes = neuron(x)
    (spikes * weights).sum().backward()
    return spikes.detach(), x.grad


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """Leave nothing to the C++ of CPUs."""
    monkeypatch.setattr(cpp, 'serves', lambda *given: False)


@pytest.fixture
def uncompiled(monkeypatch):
    """The plain loops themselves: seconds faster, and what compiling must not change."""
    monkeypatch.setattr(inductor, '_broken', ['told to'])


@pytest.mark.parametrize(('v_reset', 'decay_input', 'detach_reset'), OPTIONS)
@pytest.mark.parametrize('surrogate', SLOPES)
def test_the_loops_are_those_of_the_scan(uncompiled, v_reset, decay_input, detach_reset, surrogate):
    torch.manual_seed(0)
    options = dict(v_reset=v_reset, decay_input=decay_input, detach_reset=detach_reset)
    plain, loops = both(**options, surrogate=surrogate, v_threshold=0.7, input_gain=2.0)
    x = torch.randn(T * B, 5, 3, dtype=torch.float64) * 3
    weights = torch.randn_like(x)
    (spikes, grad), (others, other_grad) = run(plain, x, weights), run(loops, x, weights)
    assert 0.05 < spikes.mean() < 0.95
    assert torch.equal(spikes, others)
    torch.testing.assert_close(grad, other_grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last, None])
@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('detach_reset', [False, True])
def test_behind_a_norm_its_input_is_kept_in_place_of_potentials(
    uncompiled, layout, soft, detach_reset
):
    torch.manual_seed(0)
    options = dict(v_reset=None if soft else 0.0, detach_reset=detach_reset, v_threshold=0.5)
    grads = []
    shape = (T * B, 3, 4, 5) if layout else (T * B, 3)
    x, weights = torch.randn(shape).double(), torch.randn(shape).double()
    if layout:
        x = x.contiguous(memory_format=layout)
    for neuron in both(**options):
        torch.manual_seed(1)
        norm = (torch.nn.BatchNorm2d if layout else torch.nn.BatchNorm1d)(3).double()
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
        source = x.clone().requires_grad_()
        spikes = neuron(norm(source))
        (spikes * weights).sum().backward()
        grads.append((spikes.detach(), source.grad, norm.weight.grad, norm.bias.grad))
        if neuron.backend == 'inductor':
            kept = neuron(norm(source)).grad_fn
            while kept.name() != 'CompiledScanBackward':
                kept = kept.next_functions[0][0]
            own = kept.saved_tensors[2]
            assert own.untyped_storage().data_ptr() == source.untyped_storage().data_ptr()
    for plain, loops in zip(*grads, strict=True):
        torch.testing.assert_close(loops, plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('case', ['evaluation', 'no weights', 'frozen bias', 'hooks', 'addition'])
def test_where_the_norm_keeps_nothing_potentials_are_kept(case):
    norm = torch.nn.BatchNorm2d(3, affine=case != 'no weights')
    if case == 'evaluation':
        norm.eval()
    if case == 'frozen bias':
        norm.bias.requires_grad_(False)
    x = torch.randn(T * B, 3, 4, 5, requires_grad=True)
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t)
    with hooks if case == 'hooks' else nullcontext():
        out = norm(x)
    out = out + 1 if case == 'addition' else out
    assert came_out_of_norm(out, T) is None
    assert came_out_of_norm(torch.nn.BatchNorm2d(3)(x), T) is not None


@pytest.mark.slow
@needs_compiler
def test_compiled_behind_a_norm_in_either_order_of_memory():
    """The norm that is computed again rounds as it likes: a spike must not move for it."""
    plain, fast = both(v_threshold=0.5)
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        x = torch.randn(T * B, 6, 9, 7).contiguous(memory_format=layout)
        weights, norm = torch.randn_like(x), torch.nn.BatchNorm2d(6)
        (spikes, grad), (others, other_grad) = (
            run(torch.nn.Sequential(norm, neuron), x, weights) for neuron in (plain, fast)
        )
        assert torch.equal(spikes, others)
        torch.testing.assert_close(grad, other_grad, rtol=1e-5, atol=1e-6)
    assert not inductor._broken


@pytest.mark.slow
@needs_compiler
def test_compiled_in_single_precision_and_seldom():
    counters.clear()
    plain, fast = both(v_threshold=0.5)
    higher = set_time_steps(LIF(v_threshold=4.0, backend='inductor'), T)
    torch.manual_seed(0)
    # On a grid of sixteenths all sums and halves are exact.
    x = torch.randint(-64, 64, (T * B, 3, 5, 7)) / 16
    weights = torch.randn_like(x)
    (spikes, grad), (others, other_grad) = run(plain, x, weights), run(fast, x, weights)
    assert torch.equal(spikes, others)
    torch.testing.assert_close(grad, other_grad, rtol=1e-6, atol=1e-6)
    assert not inductor._broken
    for height, width in torch.randint(2, 40, (50, 2)).tolist():
        shape = (T * B, 3, height, width)
        run(fast, torch.randn(shape), torch.randn(shape))
        higher(torch.randn(shape))
    # Forward with and without the potentials, and backward: none for a size or a threshold.
    assert counters['stats']['unique_graphs'] <= 3


@pytest.mark.slow
def test_without_a_compiler_the_loop_runs_and_the_log_says_it_once(tmp_path):
    code = """
import torch
from mmspike.neurons import LIF
from mmspike.neurons.lif import cpp
cpp.serves = lambda *given: False
neuron = LIF(time_steps=2, backend='inductor')
plain = LIF(time_steps=2, backend='torch')
for _ in range(2):
    x = torch.randn(4, 300, requires_grad=True)
    spikes = neuron(x)
    assert torch.equal(spikes, plain(x))
    spikes.sum().backward()
"""
    own = dict(CXX='/no/such/compiler', PATH='/no/path', TORCHINDUCTOR_CACHE_DIR=str(tmp_path))
    environment = {**os.environ, **own}
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert said.count('neurons run uncompiled, as torch.compile does not work here') == 1


def test_a_model_takes_the_option_and_other_forms_fall_back(uncompiled):
    with default_neuron(dict(type='mmspike.LIF', backend='inductor')):
        from mmspike.models.backbones import MetaSpikeFormer

        arch = dict(dims=(4, 4, 8, 8, 8), depths=(1,) * 5, heads=2)
        model = MetaSpikeFormer(
            arch, time_steps=2, neuron=dict(type='mmspike.LIF', backend='inductor')
        )
    neurons = [m for m in model.modules() if isinstance(m, LIF)]
    assert all(neuron.backend == 'inductor' for neuron in neurons)
    model(torch.randn(B, 3, 32, 32))[-1].sum().backward()
    x = torch.randn(T * B, 6)
    for options in (dict(v_reset=-0.5), dict(learnable_threshold=True)):
        plain, other = both(**options)
        assert torch.equal(plain(x), other(x))
