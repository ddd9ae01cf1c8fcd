"""SDSA-1, 2 and 4 by hand and against their equations, and what each of the four costs."""

import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.errors import UserError
from mmspike.layers import ATTENTIONS, SDSA1, SDSA2, SDSA3, SDSA4, RepConv
from mmspike.neurons import LIF, set_time_steps

T, B, D = 2, 2, 16
# [T*B, D, 1, N]: four images of two channels and three positions.
Q = [[[1, 0, 1], [0, 1, 1]], [[0, 0, 0], [1, 1, 1]], [[1, 1, 1], [0, 0, 0]], [[1, 0, 0], [0, 0, 1]]]
K = [[[1, 1, 0], [0, 1, 0]], [[1, 1, 1], [1, 0, 1]], [[0, 1, 0], [1, 1, 0]], [[0, 1, 1], [0, 1, 1]]]
V = [[[0, 1, 1], [1, 0, 1]], [[0, 0, 0], [0, 0, 1]], [[1, 0, 1], [1, 0, 0]], [[1, 0, 1], [0, 0, 0]]]
# Channels of K * V with a one in any position: 1 0, 0 1, 0 1, 1 0. They let Q through.
SDSA1_OUT = [
    [[1, 0, 1], [0, 0, 0]],
    [[0, 0, 0], [1, 1, 1]],
    [[0, 0, 0], [0, 0, 0]],
    [[1, 0, 0], [0, 0, 0]],
]
# Channels of Q with a one: 1 1, 0 1, 1 0, 1 1. They let V through.
SDSA2_OUT = [
    [[0, 1, 1], [1, 0, 1]],
    [[0, 0, 0], [0, 0, 1]],
    [[1, 0, 1], [0, 0, 0]],
    [[1, 0, 1], [0, 0, 0]],
]
# Likewise of four positions. K^T V, d by e, and behind it Q (K^T V), e by position:
# 4 4, 4 4:  8 4 4 0, 8 4 4 0  (t = 1 of the first image)
# 2 1, 2 1:  4 4 4 4, 2 2 2 2  (t = 1 of the second)
# 4 3, 4 3:  4 8 0 8, 3 6 0 6  (t = 2 of the first)
# 4 4, 4 4:  8 4 4 0, 8 4 4 0  (t = 2 of the second)
LONG_Q = [
    [[1, 1, 0, 0], [1, 0, 1, 0]],
    [[1, 1, 1, 1], [1, 1, 1, 1]],
    [[1, 1, 0, 1], [0, 1, 0, 1]],
    [[1, 1, 0, 0], [1, 0, 1, 0]],
]
LONG_K = [
    [[1, 1, 1, 1], [1, 1, 1, 1]],
    [[1, 1, 0, 0], [0, 0, 1, 1]],
    [[1, 1, 1, 1], [1, 1, 1, 1]],
    [[1, 1, 1, 1], [1, 1, 1, 1]],
]
LONG_V = [
    [[1, 1, 1, 1], [1, 1, 1, 1]],
    [[1, 1, 1, 1], [0, 1, 1, 0]],
    [[1, 1, 1, 1], [1, 1, 1, 0]],
    [[1, 1, 1, 1], [1, 1, 1, 1]],
]
# U of decayed input, tau = 2, which a spike sets to 0. It is the same at both thresholds:
# 4 2 2 0, 4 2 2 0;  2 2 2 2, 1 1 1 1;  2 5 1 4, 1.5 4 1 3;  5 3 3 1, 4.5 2.5 2.5 0.5
FIRED_AT_4 = [
    [[1, 0, 0, 0], [1, 0, 0, 0]],
    [[0, 0, 0, 0], [0, 0, 0, 0]],
    [[0, 1, 0, 1], [0, 1, 0, 0]],
    [[1, 0, 0, 0], [1, 0, 0, 0]],
]
FIRED_AT_3 = [
    [[1, 0, 0, 0], [1, 0, 0, 0]],
    [[0, 0, 0, 0], [0, 0, 0, 0]],
    [[0, 1, 0, 1], [0, 1, 0, 1]],
    [[1, 1, 1, 0], [1, 0, 0, 0]],
]
FORMS = [dict(), dict(decay_input=False, v_threshold=2.0)]


def spikes(values):
    return torch.tensor(values, dtype=torch.float32).unsqueeze(2)


def lively(cls, **options):
    return randomize_norms(set_time_steps(cls(D, num_heads=4, **options), T)).eval().double()


def test_sdsa1_by_hand():
    layer = set_time_steps(SDSA1(2, num_heads=1), T)
    assert torch.equal(layer.attend(spikes(Q), spikes(K), spikes(V)), spikes(SDSA1_OUT))


def test_sdsa2_by_hand():
    layer = set_time_steps(SDSA2(2, num_heads=2), T)
    assert torch.equal(layer.attend(spikes(Q), spikes(V)), spikes(SDSA2_OUT))
    assert isinstance(layer.value_conv, RepConv)
    assert not any('key' in name for name, _ in layer.named_modules())


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('cls', [SDSA1, SDSA2])
def test_whole_layer_against_the_equation(cls, form):
    """Positions times channels, as the paper writes them, one image and time step at a time."""
    layer = lively(cls, neuron=dict(type='mmspike.LIF', **form))
    x = torch.randn(T * B, D, 1, 2, dtype=torch.float64)  # Of many positions one always fires.
    fire = LIF(T)
    s = fire(x)
    made = {
        name: fire(getattr(layer, f'{name}_conv')(s)).flatten(2).transpose(1, 2)  # [n, N, D]
        for name in layer.operands
    }
    q, v = made['query'], made['value']
    counts, masked = (made['key'] * v, q) if cls is SDSA1 else (q, v)
    gates = LIF(T, v_threshold=0.5)(counts.sum(1))  # [n, D]
    expected = (torch.diag_embed(gates) @ masked.transpose(1, 2)).reshape(x.shape)
    assert 0.02 < expected.mean() < 0.98
    assert 0.02 < gates.mean() < 0.98
    torch.testing.assert_close(layer(x), layer.proj(expected))


@pytest.mark.parametrize('cls', [SDSA1, SDSA2])
def test_the_twin_averages_over_positions(cls):
    layer = cls(D, neuron=dict(type='ReLU'))
    x = [torch.rand(T * B, D, 3, 5) for _ in layer.operands]
    torch.testing.assert_close(
        layer.attend(*(a.tile(1, 1, 2, 2) for a in x))[..., :3, :5], layer.attend(*x)
    )


class Stranger(nn.Module):
    """Somebody else's neuron: a LIF inside, but not one of ours, with options of its own."""

    def __init__(self, time_steps=None, level=1.0, v_threshold=1.0, input_gain=1.0):
        super().__init__()
        self.lif = LIF(time_steps, v_threshold=level * v_threshold, input_gain=input_gain)

    def forward(self, x):
        return self.lif(x)


class Passing(Stranger):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)


class Unscaled(nn.Module):
    def __init__(self, time_steps=None, v_threshold=1.0):
        super().__init__()


class Unlearned(Unscaled):
    def __init__(self, time_steps=None, v_threshold=1.0, input_gain=1.0):
        super().__init__()


class Clipped(nn.ReLU6):
    spiking = False


@pytest.mark.parametrize('kind', [Stranger, Passing])
@pytest.mark.parametrize('cls', [SDSA3, SDSA1, SDSA2])
def test_a_neuron_of_somebody_else_gets_what_ours_gets(cls, kind):
    torch.manual_seed(0)
    ours = lively(cls)
    theirs = set_time_steps(cls(D, num_heads=4, neuron=dict(type=kind)), T).eval().double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(T * B, D, 6, 6, dtype=torch.float64) * 2
    assert ours(x).std() > 0
    assert torch.equal(theirs(x), ours(x))


@pytest.mark.parametrize(
    ('cls', 'kind', 'missing'),
    [(SDSA3, Unscaled, 'input_gain=8.0'), (SDSA4, Unlearned, 'learnable_threshold=')],
)
def test_a_neuron_that_cannot_do_what_attention_asks_is_refused(cls, kind, missing):
    with pytest.raises(UserError, match=f'{kind.__name__} takes no .*{missing}.*spiking = False'):
        cls(D, neuron=dict(type=kind))


def test_only_an_activation_loses_the_options_of_a_neuron():
    with pytest.raises(TypeError, match='tau'):
        SDSA1(D, neuron=dict(type=Stranger, tau=4.0))
    layer = SDSA3(D, neuron=dict(type=Clipped, tau=4.0, v_threshold=0.5))
    assert layer.averages and type(layer.attention_neuron) is Clipped


@pytest.mark.parametrize('form', FORMS)
def test_sdsa4_by_hand(form):
    """From s * u_th on: 8 * 0.5, or 8 * 1 where the input is not divided by tau = 2."""
    layer = set_time_steps(SDSA4(2, num_heads=1, neuron=dict(type='mmspike.LIF', **form)), T)
    threshold = layer.attention_neuron.v_threshold
    unit = 2 if form else 1
    assert threshold.shape == () and threshold.item() == 4 * unit
    operands = [spikes(x) for x in (LONG_Q, LONG_K, LONG_V)]
    assert torch.equal(layer.attend(*operands), spikes(FIRED_AT_4))
    threshold.data.fill_(3 * unit)
    assert torch.equal(layer.attend(*operands), spikes(FIRED_AT_3))


def test_sdsa4_starts_as_sdsa3_and_learns_its_threshold():
    three, four = lively(SDSA3), lively(SDSA4)
    missing = four.load_state_dict(three.state_dict(), strict=False).missing_keys
    assert missing == ['attention_neuron.v_threshold']
    threshold = four.attention_neuron.v_threshold
    assert threshold.item() == 4.0
    x = torch.randn(T * B, D, 6, 6, dtype=torch.float64) * 2
    assert torch.equal(four(x), three(x))
    four(x).pow(2).sum().backward()
    assert threshold.grad.abs() > 0
    fired = []
    four.attention_neuron.register_forward_hook(lambda _, __, out: fired.append(out.mean()))
    for value in (4.0, 12.0):
        threshold.data.fill_(value)
        four(x)
    assert fired[0] > fired[1] > 0


class Operations(TorchDispatchMode):
    """Count multiply-adds of matrix products, and the operands of everything elementwise."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name == 'bmm':
            self.count += args[0].numel() * args[1].shape[-1]
        elif name in ('mul', 'sum', 'mean', 'div', 'add', 'sub'):
            self.count += max(a.numel() for a in args if isinstance(a, torch.Tensor))
        elif name not in ('view', 'expand', 'transpose', '_unsafe_view', 'unsqueeze', 'clone'):
            raise AssertionError(f'{name} is not counted')
        return func(*args, **(kwargs or {}))


def operations(name, positions, channels, heads):
    layer = ATTENTIONS[name](channels, heads)
    layer.attention_neuron = nn.Identity()
    x = torch.zeros(1, channels, 1, positions)
    with Operations() as operations:
        layer.attend(*[x] * len(layer.operands))
    return operations.count


@pytest.mark.parametrize(('name', 'factor'), [('sdsa1', 3), ('sdsa2', 2)])
def test_sdsa_1_and_2_cost_n_times_d(name, factor):
    for n, d in ((32, 16), (64, 16), (64, 32)):
        for heads in (2, 4):
            assert operations(name, n, d, heads) == factor * n * d


@pytest.mark.parametrize('name', ['sdsa3', 'sdsa4'])
def test_sdsa_3_and_4_cost_n_times_d_squared_by_heads(name):
    for n, d in ((32, 16), (64, 16), (64, 32)):
        for heads in (2, 4):
            assert operations(name, n, d, heads) == 2 * n * d**2 / heads


def test_linear_projections_are_a_matrix_and_a_norm():
    layer = SDSA3(D, linear_qkv=True, linear_proj=True)
    assert not any(isinstance(m, RepConv) for m in layer.modules())
    twin = ConvModule(D, D, 1, bias=False, norm_cfg=dict(type='BN'), act_cfg=None)
    for name in ('query_conv', 'key_conv', 'value_conv', 'proj'):
        shapes = [p.shape for p in layer.get_submodule(name).parameters()]
        assert shapes == [p.shape for p in twin.parameters()]
    mixed = SDSA3(D, linear_proj=True)
    assert isinstance(mixed.query_conv, RepConv) and not isinstance(mixed.proj, RepConv)


@pytest.mark.parametrize('way', ['autocast', 'model'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    'neuron',
    [
        dict(type='mmspike.LIF', v_reset=None),
        dict(type='mmspike.ILIF', levels=50),
        dict(type='mmspike.NILIF', levels=8),
    ],
    ids=lambda neuron: neuron['type'],
)
@pytest.mark.parametrize('kind', ['sdsa3', 'sdsa1', 'sdsa2', 'sdsa4'])
@torch.no_grad()
def test_counts_are_summed_exactly_in_half_precision(kind, neuron, dtype, way):
    """Sums over 4096 positions overflow fp16, and counts above 256 round in bf16."""
    if (kind, way) == ('sdsa4', 'model'):
        pytest.skip('its learned threshold is rounded as any weight')
    torch.manual_seed(0)
    layer = ATTENTIONS[kind](8, 2, neuron=dict(neuron, time_steps=T)).eval()
    most, unit = layer.neuron.levels, layer.neuron.unit
    operands = [torch.randint(0, most + 1, (T, 8, 64, 64)).double() * unit for _ in layer.operands]
    expected = layer.double().attend(*operands)
    assert expected.count_nonzero() > 0
    if way == 'autocast':
        layer.float()
        with torch.autocast('cpu', dtype):
            out = layer.attend(*(x.float() for x in operands))
    else:
        out = layer.to(dtype).attend(*(x.to(dtype) for x in operands))
        assert layer(torch.randn(T, 8, 6, 6, dtype=dtype)).dtype == dtype
    torch.testing.assert_close(out.double(), expected, rtol=1e-2 * (unit != 1), atol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_training_in_half_precision_gives_gradients(dtype):
    torch.manual_seed(0)
    layer = set_time_steps(randomize_norms(SDSA3(D, 4)), T).train()
    x = 3 * torch.randn(T * B, D, 6, 6)
    with torch.autocast('cpu', dtype):
        (layer(x).float() * torch.randn(T * B, D, 6, 6)).sum().backward()
    grads = [p.grad for p in layer.parameters()]
    assert all(grad.isfinite().all() for grad in grads)
    assert layer.value_conv.pointwise1.weight.grad.any()
