"""What autograd keeps: bits and inputs of norms, from which the rest is computed again."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.layers import (
    SDSA3,
    MetaBlock,
    RepConv,
    SepConv,
    SpikeConv2d,
    attention,
    rep_conv,
    spike_conv,
    spike_conv_norm,
    token_mixers,
)
from mmspike.models.backbones import MetaSpikeFormer
from mmspike.neurons import LIF, NILIF, set_time_steps
from mmspike.neurons.compact import again, compactly, share
from mmspike.neurons.lif import neuron as lif_module

T, B = 2, 2
ARCH = dict(dims=(4, 8, 16, 16, 24), depths=(1, 2, 1, 2, 1), heads=4)


def gradients(dtype, **options):
    torch.manual_seed(0)
    model = randomize_norms(MetaSpikeFormer(ARCH, T, **options)).to(dtype).train()
    x = torch.randn(B, 3, 40, 36, dtype=dtype, requires_grad=True)
    sum(out.square().mean() for out in model(x)).backward()
    return {'x': x.grad, **{name: p.grad for name, p in model.named_parameters()}}


@pytest.mark.parametrize('channels_last', [True, False])
@pytest.mark.parametrize('neuron', ['mmspike.LIF', 'mmspike.NILIF', 'ReLU'])
@pytest.mark.parametrize('kind', ['sdsa3', 'sdsa1'])
def test_gradients_are_those_of_what_is_kept_as_it_is(monkeypatch, channels_last, neuron, kind):
    options = dict(
        neuron=dict(type=neuron), channels_last=channels_last, variant=dict(attention=kind)
    )
    own = {dtype: gradients(dtype, **options) for dtype in (torch.float32, torch.float64)}
    for module in (attention, rep_conv, token_mixers):
        monkeypatch.setattr(module, 'compactly', lambda *tensors: nullcontext())
    monkeypatch.setattr(lif_module, 'again', lambda x: None)
    for dtype, grads in own.items():
        largest = max(float(grad.abs().max()) for grad in grads.values())
        tolerance = 1e-9 if dtype == torch.float64 else 1e-4
        for name, grad in gradients(dtype, **options).items():
            torch.testing.assert_close(
                grads[name], grad, rtol=tolerance, atol=1e-2 * tolerance * largest, msg=name
            )


def kept(build, channels=64, size=24):
    """What autograd keeps behind a module, as a multiple of its output."""
    torch.manual_seed(0)
    built = set_time_steps(build(channels), T).train()
    x = torch.randn(T * B, channels, size, size).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    built(x)  # What libraries keep from their first run.
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        out = built(x)
    events = recorded.profiler.kineto_results.events()
    total = sum(event.nbytes() for event in events if event.name() == '[memory]')
    return total / out.nbytes - 1


@pytest.mark.parametrize(
    ('module', 'maps'),
    [
        # The inputs of norm1 and norm2; with those of the rest it would be 5.
        (RepConv, 2),
        # The inputs of two norms, 2C and C wide, and bits; with the last convolution's 5.
        (SepConv, 3),
        # Two for each of four RepConvs, the sums over positions, and bits; as they are 25.
        (SDSA3, 9),
    ],
)
def test_how_many_maps_are_kept(module, maps):
    assert maps <= kept(module) < maps + 0.6


def test_sums_are_kept_every_third_time():
    """Of six sums the third is kept, and the last, which is the output."""

    def blocks(channels):
        return torch.nn.Sequential(*(MetaBlock(None, SDSA3(channels)) for _ in range(6)))

    assert kept(blocks) - 6 * kept(SDSA3) == pytest.approx(1, abs=0.1)


def test_shared_forms_are_computed_once():
    neuron = LIF(T).train()
    spikes = neuron(torch.randn(T * B, 3, 4, 4, requires_grad=True))
    assert torch.equal(again(spikes)(), spikes)
    form = again(spikes)
    assert form() is not form()
    share(spikes)
    assert again(spikes)() is again(spikes)()
    with torch.no_grad():
        assert again(spikes) is None
    assert isinstance(compactly(torch.zeros(1)), nullcontext)


def in_place(x, change):
    if change == 'no gradient':
        with torch.no_grad():
            x.add_(0.3)
    elif change == 'a part':
        x[:, :2] += 0.3
    else:
        dict(addition=lambda: x.add_(0.3), product=lambda: x.mul_(0.7), relu=lambda: x.relu_())[
            change
        ]()
    return x


def out_of_place(x, change):
    if change == 'a part':
        return torch.cat([x[:, :2] + 0.3, x[:, 2:]], dim=1)
    return dict(product=lambda: x * 0.7, relu=lambda: x.relu()).get(change, lambda: x + 0.3)()


BEFORE = {
    'a norm': lambda: nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)),
    'a spiking norm': lambda: spike_conv_norm(4, 4, 3),
    'spikes': LIF,
    'counts': lambda: NILIF(levels=4),
    'a block': lambda: MetaBlock(SepConv(4), RepConv(4)),
    'a depthwise convolution': lambda: SpikeConv2d(4, 4, 3, padding=1, groups=4),
    'RepConv': lambda: nn.Sequential(LIF(), RepConv(4)),
}


@pytest.mark.parametrize('behind', [spike_conv_norm, lambda *_: MetaBlock(SepConv(4), RepConv(4))])
@pytest.mark.parametrize('change', ['addition', 'product', 'relu', 'a part', 'no gradient'])
@pytest.mark.parametrize('name', BEFORE)
def test_a_change_in_place_voids_the_form(name, change, behind):
    grads = []
    for apply in (in_place, out_of_place):
        torch.manual_seed(0)
        parts = nn.ModuleList([BEFORE[name](), behind(4, 4, 3)])
        before, after = randomize_norms(set_time_steps(parts, T)).train()
        x = torch.randn(T * B, 4, 6, 6, requires_grad=True)
        after(apply(before(2 * x), change)).square().sum().backward()
        grads.append([x.grad, *(p.grad for p in parts.parameters())])
    for own, expected in zip(*grads, strict=True):
        assert (own is None) == (expected is None)
        assert own is None or torch.equal(own, expected)


@pytest.mark.parametrize('change', [Tensor.relu, Tensor.relu_])
def test_what_a_hook_changes_is_not_computed_again_without_it(monkeypatch, change):
    grads = []
    for forms in (True, False):
        torch.manual_seed(0)
        block = randomize_norms(set_time_steps(MetaBlock(SepConv(4), RepConv(4)), T)).train()
        for module in block.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda _, __, out: change(out))
        if not forms:
            for module in (spike_conv, rep_conv):
                monkeypatch.setattr(module, 'convolve_again', lambda conv, x, out: out)
        x = torch.randn(T * B, 4, 6, 6, requires_grad=True)
        block(2 * x).square().sum().backward()
        grads.append([x.grad, *(p.grad for p in block.parameters())])
    for own, expected in zip(*grads, strict=True):
        torch.testing.assert_close(own, expected)


def test_what_a_sum_was_made_of_must_not_change_unseen():
    """Here torch itself raises, whatever is kept: the neuron behind the sum needs its terms."""
    torch.manual_seed(0)
    block = set_time_steps(MetaBlock(SepConv(4), RepConv(4)), T).train()
    x = torch.randn(T * B, 4, 6, 6, requires_grad=True) * 2
    out = block(x)
    x += 1
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        out.square().sum().backward()
