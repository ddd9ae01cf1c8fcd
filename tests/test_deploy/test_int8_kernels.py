"""The form fast-int8 computes with its rounded weights what single precision does with them."""

import os
import subprocess
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.deploy import reparameterize
from mmspike.deploy.int8_kernels import Int8Convolution
from mmspike.errors import UserError
from mmspike.layers import SpikeConv2d, SpikeConvTranspose2d
from mmspike.models.backbones import ESpikeFormer, MetaSpikeFormer
from mmspike.neurons import SpikingNeuron, build_neuron, set_time_steps

TINY = dict(dims=(8, 8, 16, 16, 16), depths=(1, 1, 1, 1, 1), heads=2)
INTEGER = dict(type='mmspike.NILIF', levels=4)


@pytest.mark.parametrize(
    'options',
    [
        dict(kernel_size=1),
        dict(kernel_size=3, padding=1, stride=2),
        dict(kernel_size=7, padding=3, groups=16),
        dict(kernel_size=3, padding=2, dilation=2, bias=False),
    ],
)
@torch.no_grad()
def test_a_convolution_of_counts(options):
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 32, **options)
    before = conv.weight.clone()
    kernel = Int8Convolution(conv)
    steps = before.abs().amax((1, 2, 3), keepdim=True) / 127
    assert ((conv.weight - before).abs() <= 0.51 * steps).all()
    assert not conv.weight.equal(before)
    counts = torch.randint(0, 9, (4, 16, 12, 10)).float()
    counts = counts.contiguous(memory_format=torch.channels_last)
    out = kernel(counts, conv.weight, conv.bias)
    torch.testing.assert_close(out, conv(counts), rtol=1e-5, atol=1e-4)
    assert kernel(counts.byte(), conv.weight, conv.bias).equal(out)


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('backend', ['cpp', 'torch'])
@pytest.mark.parametrize(
    'neuron',
    [
        dict(type='mmspike.LIF'),
        dict(type='mmspike.LIF', v_reset=None, decay_input=False, tau=3.0),
        dict(type='mmspike.PLIF'),
        dict(type='mmspike.ILIF', levels=8, v_threshold=0.3),
    ],
)
@torch.no_grad()
def test_a_neuron_writes_its_counts_as_bytes(neuron, backend, channels_last):
    torch.manual_seed(0)
    order = torch.channels_last if channels_last else torch.contiguous_format
    x = (3 * torch.randn(3 * 2, 5, 7, 6)).contiguous(memory_format=order)
    model = build_neuron(dict(neuron, time_steps=3, backend=backend))
    spikes = model(x)
    model.in_bytes = True
    counts = model(x)
    assert counts.dtype is torch.uint8
    assert counts.float().equal(spikes)
    assert counts.is_contiguous(memory_format=order)
    assert counts.max() == model.levels


@torch.no_grad()
def test_a_unit_is_no_count():
    x = torch.randn(4, 3, 5, 5)
    for backend in ('cpp', 'torch'):
        model = build_neuron(dict(INTEGER, time_steps=2, backend=backend))
        spikes = model(x)
        model.in_bytes = True
        assert (model(x) / 4).equal(spikes)


def without_kernels(model):
    """A copy that computes with the same rounded weights in single precision."""
    model = deepcopy(model)
    for module in model.modules():
        vars(module).pop('_conv_forward', None)
        vars(module).pop('in_bytes', None)
    return model


@pytest.mark.parametrize(
    ('kind', 'options', 'in_bytes'),
    [
        (MetaSpikeFormer, dict(neuron=INTEGER), True),
        (MetaSpikeFormer, dict(), True),
        (MetaSpikeFormer, dict(neuron=INTEGER, variant=dict(attention='sdsa1')), False),
        (ESpikeFormer, dict(), True),
    ],
)
@torch.no_grad()
def test_a_backbone(kind, options, in_bytes):
    torch.manual_seed(0)
    model = randomize_norms(kind(TINY, time_steps=2, **options)).eval()
    x = torch.randn(2, 3, 64, 64)
    merged = reparameterize(model, 'fast-int8')
    kernels = [m for m in merged.modules() if '_conv_forward' in vars(m)]
    assert len(kernels) > 15
    behind = [m for m in merged.modules() if getattr(m, 'proj', None) is not None]
    assert behind and all(m.attention_neuron.in_bytes == in_bytes for m in behind)
    assert any(isinstance(m, SpikingNeuron) and not m.in_bytes for m in merged.modules())  # Q, K, V
    for out, own, plain in zip(merged(x), without_kernels(merged)(x), model(x), strict=True):
        assert own.abs().max() > 0
        torch.testing.assert_close(out, own, rtol=1e-4, atol=1e-3)
        assert 0 < (out - plain).abs().mean() < 0.5 * plain.abs().mean()  # Weights do round.


class Bare(nn.Module):
    """Declares a layer that sees real values."""

    bare = ('conv',)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 1)

    def forward(self, x):
        return self.conv(x)


def spiking(**options):
    neuron = options.pop('neuron', dict(type='mmspike.ILIF', levels=8, v_threshold=0.3))
    return nn.Sequential(Bare(), SpikeConv2d(16, 8, neuron=neuron, **options))


def sew():
    neuron = dict(type='mmspike.ILIF', levels=200, v_threshold=0.001)
    arch = dict(dims=(16,) * 5, depths=(1, 2, 2, 2, 2), heads=2)
    return MetaSpikeFormer(arch, neuron=neuron, variant=dict(shortcut='sew'))


class Shared(nn.Module):
    """Gives a neuron's counts to weights, and hands them on."""

    def __init__(self):
        super().__init__()
        self.layers = spiking(kernel_size=1)
        self.neuron = self.layers[1].neuron

    def forward(self, x):
        return self.layers(x) + self.neuron(x[:, :1])


EXACT = {
    'zeros': lambda: spiking(kernel_size=3, padding=1),
    **{
        mode: partial(spiking, kernel_size=3, padding=1, padding_mode=mode)
        for mode in ('reflect', 'replicate', 'circular')
    },
    'same': lambda: spiking(kernel_size=(3, 5), padding='same'),
    'same, uneven': lambda: spiking(kernel_size=(4, 3), padding='same'),
    'uneven': lambda: spiking(kernel_size=(1, 5), padding=(2, 0)),
    'valid': lambda: spiking(kernel_size=3, padding='valid'),
    'depthwise': lambda: spiking(kernel_size=3, groups=8),
    'other values': lambda: spiking(kernel_size=3, neuron=dict(type='ReLU')),
    'transposed': lambda: nn.Sequential(Bare(), SpikeConvTranspose2d(16, 4, 3, groups=2)),
    'sums of counts': sew,
    'counts elsewhere': Shared,
    **{
        f'counts of {levels}': partial(
            spiking,
            kernel_size=3,
            neuron=dict(type='mmspike.ILIF', levels=levels, v_threshold=0.003),
        )
        for levels in (129, 130, 255)
    },
}


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('kind', EXACT)
@torch.no_grad()
def test_only_weights_round(kind, dtype):
    torch.manual_seed(0)
    model = randomize_norms(set_time_steps(EXACT[kind](), 1)).to(dtype).eval()
    merged = reparameterize(model, 'fast-int8')
    x = torch.randn(2, 3, 32, 32, dtype=dtype).abs()
    outs = [merged(x), without_kernels(merged)(x), model(x)]
    outs = [out[-1] if isinstance(out, (list, tuple)) else out for out in outs]
    size = float(outs[1].abs().max())
    assert outs[0].dtype == dtype and size > 0
    torch.testing.assert_close(outs[0], outs[1], rtol=0, atol=1e-5 * size)
    if kind != 'sums of counts':  # There rounding moves spikes.
        assert float((outs[0] - outs[2]).abs().max()) < 0.02 * size


def test_it_is_exact_on_a_cpu_without_vnni():
    """Such a CPU adds two products in 16 bits, which counts above 129 overflow."""
    options = ['-q', '-p', 'no:cacheprovider', __file__, '-k', 'only_weights']
    code = (
        'import pytest, sys; from mmspike.deploy.int8_kernels import pairs_saturate; '
        f'print("saturates:", pairs_saturate()); sys.exit(pytest.main({options}))'
    )
    environment = {**os.environ, 'ONEDNN_MAX_CPU_ISA': 'AVX2'}
    done = subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    if 'avx2' in Path('/proc/cpuinfo').read_text():
        assert 'saturates: True' in done.stdout


def test_it_is_for_cpus():
    model = MetaSpikeFormer(TINY).eval().to('meta')
    with pytest.raises(UserError, match="'fast-int8' is made for CPUs.*the model is on meta"):
        reparameterize(model, 'fast-int8')
