"""The operators against the equations of the paper, written out."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import nn

from mmspike.layers import (
    SDSA3,
    NormAndPad,
    RepConv,
    SpikeConv2d,
    SpikeConvTranspose2d,
    SpikeLinear,
)
from mmspike.neurons import LIF, default_neuron, set_time_steps
from mmspike.neurons.compact import compactly

T, B = 2, 2


def perturb_norms(module):
    """Give every norm its own statistics and scale, so that none is an identity."""
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean, std=0.3)
            nn.init.uniform_(m.running_var, 0.5, 1.5)
            nn.init.uniform_(m.weight, 0.5, 2.0)
            nn.init.normal_(m.bias, 0.5)
    return module.eval().double()


@pytest.mark.parametrize(
    ('spiking', 'stock', 'args', 'shape'),
    [
        (SpikeConv2d, nn.Conv2d, (4, 6, 3), (T * B, 4, 7, 7)),
        (SpikeConvTranspose2d, nn.ConvTranspose2d, (4, 6, 2), (T * B, 4, 7, 7)),
        (SpikeLinear, nn.Linear, (4, 6), (T * B, 4)),
    ],
)
def test_spiking_layer_is_the_stock_layer_on_spikes(spiking, stock, args, shape):
    layer, twin = set_time_steps(spiking(*args), T), stock(*args)
    twin.load_state_dict(layer.state_dict())  # The same names: a checkpoint fits either.
    x = torch.randn(shape) * 3
    spikes = LIF(T)(x)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(layer(x), twin(spikes))


@pytest.mark.parametrize('autocast', [False, True])
def test_spikes_are_kept_in_bytes_for_the_same_gradients(autocast):
    torch.manual_seed(0)
    layer = set_time_steps(SpikeConv2d(4, 6, 3), T).train()
    x = (torch.randn(T * B, 4, 7, 7) * 3).requires_grad_()
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        layer(x).float().square().sum().backward()
        grads = x.grad.clone(), layer.weight.grad.clone()
        x.grad = layer.weight.grad = None
        layer.eval()  # As it is without.
        layer(x).float().square().sum().backward()
    assert torch.equal(grads[0], x.grad)
    assert torch.equal(grads[1], layer.weight.grad)
    plain = LIF(T, backend='torch')
    packed = []
    plain.pack = lambda spikes: packed.append(LIF.pack(plain, spikes)) or packed[-1]
    hooks = compactly(fired := plain(x.detach()))
    assert packed[0].element_size() == 1
    assert torch.equal(hooks.unpack_hook(hooks.pack_hook(fired)), fired)
    assert hooks.pack_hook(layer.weight) is layer.weight


def test_a_training_layer_unpacks_its_spikes_only_when_asked():
    layer = set_time_steps(SpikeConv2d(4, 4, 1), T).train()
    node = layer(torch.randn(T * B, 4, 16, 16, requires_grad=True)).grad_fn
    first, second = node._saved_input, node._saved_input
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()  # Made anew each time: kept is something else.


def test_conv_cfg_makes_a_stock_module_spike_and_keeps_its_initialization():
    torch.manual_seed(0)
    spiking = ConvModule(64, 64, 3, conv_cfg=dict(type='mmspike.SpikeConv2d'), act_cfg=None)
    torch.manual_seed(0)
    stock = ConvModule(64, 64, 3, act_cfg=None)
    assert isinstance(spiking.conv, SpikeConv2d)
    assert torch.equal(spiking.conv.weight, stock.conv.weight)
    assert spiking.conv.weight.std().item() == pytest.approx(
        (2 / (9 * 64)) ** 0.5, rel=0.05
    )  # Kaiming


def test_neuron_of_the_surrounding_model_and_of_the_layer_itself():
    with default_neuron(dict(type='ReLU')):
        assert isinstance(SpikeConv2d(1, 1, 1).neuron, nn.ReLU)
        assert isinstance(SpikeConv2d(1, 1, 1, neuron=dict(type='mmspike.LIF')).neuron, LIF)
    assert isinstance(SpikeConv2d(1, 1, 1).neuron, LIF)


def test_changing_the_type_alone_gives_the_ann_twin_and_misspelt_options_are_refused():
    neuron = dict(type='ReLU', v_threshold=0.5, tau=2.0)
    assert isinstance(SpikeConv2d(1, 1, 1, neuron=neuron).neuron, nn.ReLU)
    with pytest.raises(TypeError, match='treshold'):
        SpikeConv2d(1, 1, 1, neuron=dict(type='mmspike.LIF', v_treshold=0.5))


def test_norm_and_pad_pads_with_what_the_norm_makes_of_zero():
    layer = perturb_norms(NormAndPad(3))
    x = torch.randn(T * B, 3, 4, 5, dtype=torch.float64)
    expected = layer.norm(F.pad(x, [1] * 4))
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


def test_rep_conv_equals_one_dense_convolution_borders_included():
    """Merge by hand: the response to each unit impulse on a zero background is the kernel."""
    channels, size = 3, 7
    layer = perturb_norms(RepConv(channels))
    with torch.no_grad():
        background = layer(torch.zeros(1, channels, size, size, dtype=torch.float64))
        # Nothing but the bias: as if the input were padded with zeros, also at the border.
        bias = background[0, :, 0, 0]
        assert torch.allclose(background, bias.view(1, -1, 1, 1).expand_as(background), atol=1e-12)
        kernel = torch.zeros(channels, channels, 3, 3, dtype=torch.float64)
        for c in range(channels):
            impulse = torch.zeros(1, channels, size, size, dtype=torch.float64)
            impulse[0, c, 3, 3] = 1
            kernel[:, c] = (layer(impulse) - background)[0, :, 2:5, 2:5].flip(-1, -2)
        x = torch.randn(2, channels, size, size, dtype=torch.float64)
        expected = F.conv2d(x, kernel, bias, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9)


def attention_by_the_paper(layer, x, steps):
    """SDSA-3 head by head in the order Q (K^T V), scaled by 0.125 and firing at 0.5."""
    neuron = LIF(steps)
    spikes = neuron(x)
    q, k, v = (
        neuron(conv(spikes)).flatten(2).transpose(1, 2)  # [n, positions, channels]
        for conv in (layer.query_conv, layer.key_conv, layer.value_conv)
    )
    width = x.shape[1] // layer.num_heads
    heads = []
    for h in range(layer.num_heads):
        part = slice(h * width, (h + 1) * width)
        heads.append(q[..., part] @ (k[..., part].transpose(1, 2) @ v[..., part]) * 0.125)
    product = torch.cat(heads, -1).transpose(1, 2).reshape(x.shape)
    fired = LIF(steps, v_threshold=0.5)(product)
    return layer.proj(fired), fired


def test_attention_in_threshold_form_equals_the_scaled_form():
    torch.manual_seed(1)
    layer = perturb_norms(set_time_steps(SDSA3(16, num_heads=4), T))
    x = (torch.randn(T * B, 16, 8, 9, dtype=torch.float64) * 4).requires_grad_()
    out = layer(x)
    weight = torch.randn_like(out)
    (grad,) = torch.autograd.grad((out * weight).sum(), x)
    expected, fired = attention_by_the_paper(layer, x, T)
    (expected_grad,) = torch.autograd.grad((expected * weight).sum(), x)
    assert 0.05 < fired.mean() < 0.95
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-9, atol=1e-12)


def test_attention_fires_at_four_on_integers():
    layer = set_time_steps(SDSA3(16, num_heads=4), T)
    assert layer.attention_neuron.v_threshold == 4.0
    seen = []
    layer.attention_neuron.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    layer(torch.randn(T * B, 16, 8, 9) * 4)
    assert torch.equal(seen[0], seen[0].round())


@pytest.mark.parametrize(('neuron', 'growth'), [('ReLU', 1), ('mmspike.LIF', 4)])
def test_attention_of_the_twin_does_not_grow_with_the_image(neuron, growth):
    layer = set_time_steps(SDSA3(16, num_heads=4, neuron=dict(type=neuron)), T)
    layer.query_conv = layer.key_conv = layer.value_conv = nn.Identity()
    seen = []
    layer.attention_neuron.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.rand(T * B, 16, 3, 5) * 4
    layer(x)
    layer(x.tile(1, 1, 2, 2))
    torch.testing.assert_close(seen[1][..., :3, :5], growth * seen[0])


def test_attention_heads_must_divide_channels():
    with pytest.raises(ValueError, match='20 channels cannot be divided among 8 attention heads'):
        SDSA3(20, num_heads=8)
