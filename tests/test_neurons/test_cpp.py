"""The neurons in C++ fire the spikes of the plain loop, to the bit, with the same gradients."""

import itertools
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from mmspike.layers import SpikeConv2d
from mmspike.neurons import LIF, build_cpp, set_time_steps
from mmspike.neurons.lif import cpp
from mmspike.neurons.lif.batch_norm import came_out_of_norm
from mmspike.neurons.surrogate import DEFAULT_ALPHA, SLOPES

T, B = 4, 2
FORMS = list(itertools.product([0.0, None], [True, False], [True, False], [2.0, 3.0]))
needs_compiler = pytest.mark.skipif(cpp.library() is None, reason='there is no C++ compiler')
pytestmark = needs_compiler


def both(**options):
    return [set_time_steps(LIF(**options, backend=b), T) for b in ('torch', 'auto')]


def run(module, x, weights):
    x = x.clone().requires_grad_()
    spikes = module(x)
    (spikes * weights).sum().backward()
    return spikes.detach(), x.grad


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """How often the library ran forward, so that no test compares the plain loop with itself."""
    counted = []
    forward = cpp.run_forward

    def counting(*args):
        counted.append(args[0].shape)
        return forward(*args)

    monkeypatch.setattr(cpp, 'run_forward', counting)
    return counted


@pytest.mark.parametrize(('v_reset', 'decay_input', 'detach_reset', 'tau'), FORMS)
@pytest.mark.parametrize('surrogate', SLOPES)
def test_every_form(calls, v_reset, decay_input, detach_reset, tau, surrogate):
    """The sizes fill neither a byte nor a tile of 512."""
    options = dict(v_reset=v_reset, decay_input=decay_input, detach_reset=detach_reset, tau=tau)
    plain, fast = both(**options, surrogate=surrogate, v_threshold=0.7, input_gain=2.0)
    x = torch.randn(T * B, 5, 17, 13) * 3
    weights = torch.randn_like(x)
    (spikes, grad), (others, other_grad) = run(plain, x, weights), run(fast, x, weights)
    assert len(calls) == (surrogate in cpp.SURROGATES)
    assert 0.05 < spikes.mean() < 0.95
    assert torch.equal(spikes, others)
    torch.testing.assert_close(other_grad, grad, rtol=1e-5, atol=1e-6)


def test_a_surrogate_that_the_library_does_not_know_runs_the_plain_loop(calls, monkeypatch):
    monkeypatch.setitem(SLOPES, 'parabola', lambda x, alpha: (alpha - x**2).clamp(min=0))
    monkeypatch.setitem(DEFAULT_ALPHA, 'parabola', 1.0)
    plain, fast = both(surrogate='parabola', v_threshold=0.5)
    x, weights = torch.randn(T * B, 3, 50), torch.randn(T * B, 3, 50)
    (spikes, grad), (others, other_grad) = run(plain, x, weights), run(fast, x, weights)
    assert not calls and grad.abs().sum() > 0
    assert torch.equal(spikes, others)
    torch.testing.assert_close(other_grad, grad, rtol=1e-5, atol=1e-6)


def test_gradients_agree_to_1e_6_on_a_grid_of_exact_numbers():
    plain, fast = both(v_threshold=0.5)
    x, weights = torch.randint(-64, 64, (T * B, 3, 50, 50)) / 16, torch.randn(T * B, 3, 50, 50)
    (spikes, grad), (others, other_grad) = run(plain, x, weights), run(fast, x, weights)
    assert torch.equal(spikes, others)
    torch.testing.assert_close(other_grad, grad, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last, None])
@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('detach_reset', [False, True])
def test_behind_a_norm_its_input_is_kept_in_place_of_potentials(layout, soft, detach_reset):
    shape = (T * B, 30, 14, 9) if layout else (T * B, 1300)
    x, weights = torch.randn(shape), torch.randn(shape)
    if layout:
        x = x.contiguous(memory_format=layout)
    grads = []
    for neuron in both(v_reset=None if soft else 0.0, detach_reset=detach_reset, v_threshold=0.5):
        torch.manual_seed(1)
        norm = (nn.BatchNorm2d if layout else nn.BatchNorm1d)(shape[1])
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        source = x.clone().requires_grad_()
        out = norm(source)
        assert came_out_of_norm(out, T) is not None
        spikes = neuron(out)
        (spikes * weights).sum().backward()
        grads.append((spikes.detach(), source.grad, norm.weight.grad, norm.bias.grad))
        if neuron.backend == 'auto':
            node = neuron(norm(source)).grad_fn
            while node.name() != 'CppScanBackward':
                node = node.next_functions[0][0]
            kept = {one.data_ptr() for one in node.saved_tensors}
            assert source.data_ptr() in kept
            own = [t for t in node.saved_tensors if t.data_ptr() != source.data_ptr()]
            bits, *of_channels = own
            assert bits.nbytes <= source.numel() / 8 + T
            assert all(t.numel() <= B * shape[1] for t in of_channels)
    for plain, fast in zip(*grads, strict=True):
        scale = plain.abs().max().item()
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5 * scale)
    assert torch.equal(grads[0][0], grads[1][0])


@pytest.mark.parametrize('shape', [(T, 1), (T, 8), (T * B, 3, 21, 16), (T * 3, 0, 5)])
def test_packed_spikes_come_back(shape):
    x = torch.randn(shape).reshape(T, -1)
    neuron = cpp.make_neuron(0.3, 2.0, False, True, True, 'sigmoid', 4.0)
    spikes, packed = cpp.run_forward(x, neuron, True)
    assert packed.bits.numel() <= -(-x.numel() // 8) + T
    assert torch.equal(packed.unpack(), spikes)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_a_convolution_keeps_bits(layout):
    layer = set_time_steps(SpikeConv2d(16, 8, 3), T).train()
    x = torch.randn(T * B, 16, 20, 20).contiguous(memory_format=layout).requires_grad_()
    node = layer(x).grad_fn
    first, second = node._saved_input, node._saved_input
    assert torch.equal(first, layer.neuron(x).detach())
    assert first.stride() == x.stride()
    assert first.data_ptr() != second.data_ptr()  # Made anew each time: kept is something else.


def test_in_bfloat16_sums_are_those_of_single_precision(calls):
    """The input and the gradients are rounded, the membrane potentials on the way are not."""
    plain, fast = both(v_threshold=0.5)
    x = torch.randn(T * B, 3, 40, 30).bfloat16()
    weights = torch.randn_like(x)
    spikes, grad = run(plain, x.float(), weights.float())
    others, other_grad = run(fast, x, weights)
    assert others.dtype == other_grad.dtype == torch.bfloat16 and len(calls) == 1
    assert torch.equal(spikes.bfloat16(), others)
    # Potentials are kept in bfloat16, as the input is.
    torch.testing.assert_close(other_grad.float(), grad, rtol=0.02, atol=0.02)


def test_one_neuron_never_sees_another():
    """Threads and tiles change nothing."""
    x = torch.randn(T * B, 7, 33, 31)
    weights, fast = torch.randn_like(x), both()[1]
    found = []
    threads = torch.get_num_threads()
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(run(fast, x, weights))
    torch.set_num_threads(threads)
    for spikes, grad in found[1:]:
        assert torch.equal(spikes, found[0][0]) and torch.equal(grad, found[0][1])
    order = torch.randperm(x[0].numel())
    one = x.view(T, B, -1)[..., order].reshape(T * B, -1)
    assert torch.equal(fast(one), fast(x).view(T, B, -1)[..., order].reshape(T * B, -1))


@pytest.mark.parametrize('options', [dict(v_reset=-0.5), dict(learnable_threshold=True)])
def test_other_forms_run_the_plain_loop(calls, options):
    plain, fast = both(**options)
    x = torch.randn(T * B, 6)
    assert torch.equal(plain(x), fast(x)) and not calls
    assert torch.equal(plain(x.double()), fast(x.double())) and not calls


def test_what_traces_a_model_sees_operations_of_torch(calls):
    fast = both()[1]
    x, other = torch.randn(T * B, 3, 4, 5), torch.randn(T * B, 3, 4, 5)
    traced = torch.jit.trace(fast, x, check_trace=False)
    assert torch.equal(traced(other), fast(other)), 'not the spikes of x'
    exported = torch.export.export(fast, (x,)).module()
    assert torch.equal(exported(other), fast(other))
    with torch._subclasses.FakeTensorMode():
        assert fast(torch.empty(T * B, 3)).shape == (T * B, 3)


CODE = """
import torch
from mmspike.neurons import LIF
from mmspike.neurons.lif import cpp
neuron, plain = LIF(time_steps=2), LIF(time_steps=2, backend='torch')
for _ in range(2):
    x = torch.randn(4, 300)
    assert torch.equal(neuron(x), plain(x))
print('compiled' if cpp.library() else 'plain')
"""


def in_fresh_process(**environment):
    done = subprocess.run(
        [sys.executable, '-c', CODE],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1], done.stdout + done.stderr


@pytest.mark.slow
def test_without_a_compiler_the_loop_runs_and_the_log_says_it_once(tmp_path):
    result, said = in_fresh_process(
        CXX='/no/such/compiler', PATH='/no/path', XDG_CACHE_HOME=str(tmp_path)
    )
    assert result == 'plain'
    assert said.count('neurons run as plain loops') == 1


@pytest.mark.slow
def test_it_is_compiled_once_for_a_machine(tmp_path):
    found = []
    for _ in range(2):
        assert in_fresh_process(XDG_CACHE_HOME=str(tmp_path))[0] == 'compiled'
        (library,) = tmp_path.rglob('*.so')
        found.append((library, library.stat().st_mtime_ns))
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_cache_that_is_no_folder(tmp_path):
    (tmp_path / 'file').write_text('')
    assert in_fresh_process(XDG_CACHE_HOME=str(tmp_path / 'file'))[0] == 'compiled'


@pytest.mark.parametrize('without', ['avx512f', 'avx2'])
def test_every_set_of_instructions_gives_the_same(calls, monkeypatch, without):
    """A processor that lacks some takes other lines of the source."""
    if without not in Path('/proc/cpuinfo').read_text():
        pytest.skip(f'this processor has no {without} that could be left out')
    layer = set_time_steps(SpikeConv2d(3, 2, 1, neuron=dict(type=LIF, v_threshold=0.4)), T)
    x, weights = torch.randn(T * B, 3, 21, 13), torch.randn(T * B, 2, 21, 13)

    def run_all(dtype):
        given = x.to(dtype).clone().requires_grad_()
        own = deepcopy(layer).to(dtype)
        out = own(given)
        out.backward(weights.to(dtype))
        return out.detach(), given.grad, own.weight.grad

    usual = [run_all(dtype) for dtype in (torch.float32, torch.bfloat16)]
    monkeypatch.setenv('CXX', f'{os.environ.get("CXX", "g++")} -mno-{without}')
    build_cpp.load.cache_clear()
    try:
        other = [run_all(dtype) for dtype in (torch.float32, torch.bfloat16)]
        assert len(calls) == 4
    finally:
        monkeypatch.undo()
        build_cpp.load.cache_clear()
    for one, two in zip(usual, other, strict=True):
        assert all(map(torch.equal, one, two))
