"""E-SpikeFormer: parity with the released classifier, its files, its options and its forms."""

import re

import espike
import numpy as np
import pytest
import torch
from released import golden_images, released_checkpoint
from torch import nn

from mmspike.analysis.energy_meter import EnergyMeter
from mmspike.analysis.spike_driven import OperandRecorder
from mmspike.checks.weights import check_fits, check_start
from mmspike.commands.convert import convert_checkpoint
from mmspike.deploy import reparameterize
from mmspike.errors import UserError
from mmspike.layers import ESDSA, SpikeSepConv
from mmspike.models.backbones import ESpikeFormer, MetaSpikeFormer
from mmspike.models.backbones.espikeformer_released import RELEASED
from mmspike.neurons import ILIF, NILIF, SpikingNeuron, default_neuron, set_time_steps

B, D = 2, 4
SCALES = ['', '_layerscale']
COUNTS = {
    '5m': (5_105_608, 3_456),
    '10m': (10_023_112, 4_896),
    '19m': (18_987_504, 6_768),
}
# The authors' names of neurons, and those of the layers here that they stand before.
NEURONS = [
    (r'\.Conv\.spike1', '.token_mixer.pointwise1.conv'),
    (r'\.Conv\.spike2', '.token_mixer.depthwise.conv'),
    (r'\.Conv\.spike3', '.token_mixer.pointwise2.conv'),
    (r'\.conv\.spike1', '.local_mixer.pointwise1.conv'),
    (r'\.conv\.spike2', '.local_mixer.depthwise.conv'),
    (r'\.conv\.spike3', '.local_mixer.pointwise2.conv'),
    (r'(\d)\.spike1', r'\1.channel_mixer.0.conv'),
    (r'(\d)\.spike2', r'\1.channel_mixer.1.conv'),
    (r'\.mlp\.fc1_spike', '.channel_mixer.0.conv'),
    (r'\.mlp\.fc2_spike', '.channel_mixer.1.conv'),
    (r'\.encode_spike', '.conv'),
    (r'\.attn\.head_spike', '.token_mixer'),
    (r'\.attn\.q_spike', '.token_mixer.query'),
    (r'\.attn\.k_spike', '.token_mixer.key'),
    (r'\.attn\.v_spike', '.token_mixer.value'),
    (r'\.attn\.attn_spike', '.token_mixer.attention'),
]


def own_name(name):
    """Our name of a neuron, by the authors' one."""
    for pattern, replacement in NEURONS:
        name, count = re.subn(f'{pattern}$', replacement, name)
        if count:
            break
    name = RELEASED.convert_name(name + '.').rstrip('.').removeprefix('backbone.')
    operand = re.search(r'\.(query|key|value|attention)$', name)
    return f'{name}_neuron' if operand else f'{name}.neuron'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Both forms of the 10M, released and converted."""
    folder = tmp_path_factory.mktemp('released')
    for scales in SCALES:
        torch.save(espike.released('10m', scales), folder / f'released{scales}.pth')
        convert_checkpoint(folder / f'released{scales}.pth', folder / f'converted{scales}.pth')
    return folder


def close(own, theirs):
    np.testing.assert_allclose(own, theirs, atol=1e-9, rtol=0)


@pytest.mark.parametrize('form', ['released', 'converted'])
@pytest.mark.parametrize('scales', SCALES)
def test_10m_reproduces_the_released_numbers(files, form, scales):
    expected = espike.golden(f'10m{scales}')
    model = ESpikeFormer('10m', pretrained=str(files / f'{form}{scales}.pth')).double().eval()
    model.init_weights()
    means = {}
    for name, module in model.named_modules():
        if isinstance(module, SpikingNeuron):
            assert isinstance(module, NILIF)
            module.register_forward_hook(
                lambda _, __, out, name=name: means.update({name: out.mean().item()})
            )
    head = torch.load(files / f'converted{scales}.pth')['state_dict']
    with torch.no_grad():
        outs = model(golden_images())
        counts = ILIF(1, levels=D)(outs[-1].mean((-1, -2)))
        logits = nn.functional.linear(counts, head['head.fc.weight'], head['head.fc.bias'])
    for stage, out in zip(('1a', '1b', '2', '3', '4'), outs, strict=True):
        close(out.mean((-1, -2)), expected[f'stage{stage}'])
        close(out[:, :8, :4, :4], expected[f'stage{stage}_corner'])
    close(logits, expected['logits'])
    rates = dict(zip(expected['firing_names'].tolist(), expected['firing_rates'], strict=True))
    close(counts.mean().item() / D, rates.pop('spike'))
    assert {own_name(name) for name in rates} == means.keys()
    for name, rate in rates.items():
        close(means[own_name(name)], rate)


@pytest.mark.parametrize('size', COUNTS)
def test_parameters_with_the_1000_class_head(size):
    plain, scales = COUNTS[size]
    for model, expected in (
        (ESpikeFormer(size), plain),
        (ESpikeFormer(size, layer_scale=True), plain + scales),
    ):
        head = nn.Linear(model.out_channels[-1], 1000)
        assert sum(p.numel() for m in (model, head) for p in m.parameters()) == expected


@pytest.mark.parametrize('scales', SCALES)
@pytest.mark.parametrize('size', COUNTS)
def test_every_weight_finds_its_place(size, scales):
    weights = RELEASED.convert_state_dict(espike.released(size, scales)['model'])
    own = ESpikeFormer(size, layer_scale=bool(scales)).state_dict()
    heads = {'head.fc.weight', 'head.fc.bias'}
    assert weights.keys() == {f'backbone.{name}' for name in own} | heads
    assert all(weights[f'backbone.{name}'].shape == value.shape for name, value in own.items())


def test_the_classifier_of_the_config_gives_the_released_logits(files):
    pytest.importorskip('mmpretrain', reason='the library of this config')
    from mmengine.config import Config
    from mmengine.registry import MODELS, DefaultScope

    config = Config.fromfile(espike.CONFIGS / 'espikeformer-10m_t1_in1k.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(config.model).double().eval()
    check_fits(model, torch.load(files / 'converted.pth'), 'converted.pth')
    with torch.no_grad():
        logits = model(golden_images(), mode='tensor')
    close(logits, espike.golden('10m')['logits'])
    unrolled = reparameterize(model, 'unroll')
    torch.testing.assert_close(
        unrolled(golden_images(), mode='tensor'), logits, rtol=1e-9, atol=1e-9
    )


def refusal(call):
    with pytest.raises(UserError) as caught:
        call()
    return caught.value.sentence


def test_a_released_file_of_another_size_or_network_is_refused(files, tmp_path):
    file = str(files / 'released.pth')
    said = refusal(ESpikeFormer('19m', pretrained=file).load_pretrained)
    assert 'another size' in said
    assert '(24, 3, 7, 7) there and (32, 3, 7, 7)' in said
    said = refusal(MetaSpikeFormer('15m', pretrained=file).load_pretrained)
    assert 'is a released E-SpikeFormer, and the backbone is another network, MetaSpike' in said
    other = tmp_path / 'v2.pth'
    torch.save(released_checkpoint('15m'), other)
    said = refusal(ESpikeFormer('19m', pretrained=str(other)).load_pretrained)
    assert 'is a released Meta-SpikeFormer, and the backbone is another network, ESpike' in said
    # Of the same widths, in our names.
    convert_checkpoint(other, tmp_path / 'ours.pth')
    said = refusal(ESpikeFormer('19m', pretrained=str(tmp_path / 'ours.pth')).load_pretrained)
    assert 'is of another' in said


@pytest.mark.parametrize('form', ['released', 'converted'])
def test_branch_scales_on_one_side_alone_are_refused(files, form):
    for scales, theirs in zip(SCALES, (False, True), strict=True):
        file = files / f'{form}{scales}.pth'
        model = ESpikeFormer('10m', pretrained=str(file), layer_scale=not theirs)
        said = refusal(model.load_pretrained)
        has = 'has branch scales, but the backbone has none' if theirs else 'has no branch scales'
        assert str(file) in said
        assert f'{has}' in said
        assert f'layer_scale={theirs}' in said


@pytest.mark.parametrize('check', [check_fits, check_start])
def test_a_checkpoint_of_a_model_with_scales_needs_the_option(check):
    model = nn.ModuleDict(dict(backbone=espike.small()))
    scaled = nn.ModuleDict(dict(backbone=espike.small(layer_scale=True)))
    for own, other, option in ((model, scaled, True), (scaled, model, False)):
        said = refusal(lambda own=own, other=other: check(own, other.state_dict(), 'a.pth'))
        assert f'layer_scale={option}' in said
        check(own, own.state_dict(), 'a.pth')


def test_without_a_file_there_are_no_scales_and_the_ways_out_are_named(tmp_path):
    model = ESpikeFormer('10m', pretrained=str(tmp_path / 'none.pth'))
    assert not model.layer_scale
    said = refusal(model.load_pretrained)
    for way in ('espikeformer-10m_t1_in1k.py', 'V3', 'Train_Base.md', 'pretrained=None'):
        assert way in said


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(arch='15m'), 'must be one of 5m, 10m, 19m'),
        (dict(arch=dict(dims=(4, 8, 16, 18, 24), depths=(1,) * 5, heads=4)), 'multiples of heads'),
        (dict(norm_cfg=dict(type='GN')), 'running statistics'),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(UserError, match=words):
        ESpikeFormer(**options)


def inputs(time_steps):
    generator = torch.Generator().manual_seed(1)
    shape = (B, time_steps, 3, 32, 48)
    return torch.randn(shape, generator=generator, dtype=torch.float64) * 2


@pytest.mark.parametrize('kind', ['mmspike.NILIF', 'mmspike.ILIF', 'mmspike.LIF'])
@pytest.mark.parametrize('time_steps', [1, 2])
def test_every_form_computes_the_same_and_its_weights_see_spikes(kind, time_steps):
    levels = {} if kind == 'mmspike.LIF' else dict(levels=3)
    neuron = dict(type=kind, **levels)
    model = espike.small(time_steps=time_steps, neuron=neuron, layer_scale=True).double()
    for block in model.stages[3:].modules():
        for scale in getattr(block, 'scales', None) or ():
            scale.data.uniform_(0.5, 2)
    x = inputs(time_steps)
    with torch.no_grad():
        expected = model(x)
        for form in ('fast', 'spike', 'unroll'):
            merged = reparameterize(model, form)
            with OperandRecorder(merged) as recorder:
                outs = merged(x)
            for out, own in zip(outs, expected, strict=True):
                torch.testing.assert_close(out, own, rtol=1e-9, atol=1e-9)
            assert not any(isinstance(m, nn.BatchNorm2d) for m in merged.modules())
            kinds = {operand.kind for operand in recorder.operands if not operand.is_first}
            if form != 'fast':
                counts = form == 'spike' and bool(levels)
                assert kinds == ({'integers'} if counts else {'spikes'})


def test_energy_counts_every_operation_of_the_attention():
    model = espike.small().double()
    found = []
    for form in ('spike', 'unroll'):
        merged = reparameterize(model, form)
        with torch.no_grad(), EnergyMeter(merged) as meter:
            merged(inputs(1))
        found.append(meter.energy())
    spike, unrolled = found
    assert unrolled.total() == pytest.approx(spike.total(), rel=1e-9)
    rows = {cost.layer.key: cost for cost in spike.costs}
    assert not spike.not_run
    # Stage 3: 16 channels, 4 heads, 2x3 positions, 2 images.
    for operand in 'QKV':
        macs = rows['Stage 3', 'Block 1', f'ESDSA {operand}'].macs.sum()
        assert macs == B * 6 * 16 * 64 / 4
    assert rows['Stage 3', 'Block 1', 'ESDSA Linear Q/K/V'].macs.sum() == B * 6 * 16 * 16 * 6
    assert ('Stage 1a', 'Block 1', 'SepConv DWConv') in rows


@pytest.mark.parametrize('first', ['kv', 'qk'])
def test_attention_is_the_equation(first):
    """(Q K^T) V * 2 / sqrt(d), in either order."""
    layer = set_time_steps(ESDSA(16, 2, neuron=dict(type=NILIF, levels=4)), 2).double()
    query, key = (torch.randint(0, 5, (2 * B, 16, 3, 4)).double() / 4 for _ in range(2))
    value = torch.randint(0, 5, (2 * B, 64, 3, 4)).double() / 4
    sums = []
    layer.attention_neuron.register_forward_hook(lambda _, args, out: sums.append((args[0], out)))
    layer.attend(query, key, value)
    q, k, v = (x.unflatten(1, (2, -1)).flatten(3) for x in (query, key, value))
    if first == 'kv':
        product = torch.einsum('nhdp,nhep,nheq->nhdq', v, k, q)
    else:
        product = torch.einsum('nhep,nheq,nhdp->nhdq', k, q, v)
    (got, fired) = sums[0]
    torch.testing.assert_close(got.unflatten(1, (2, -1)).flatten(3), product)
    # At the first of two steps there is no membrane yet.
    current = (product * 2 / 8**0.5).reshape(got.shape)[:B]
    torch.testing.assert_close(fired[:B], current.clip(0, 4).round() / 4)
    assert fired.unique().numel() > 2


def test_a_model_around_it_has_its_neurons():
    pytest.importorskip('mmseg', reason='SpikeEncoderDecoder is of mmseg')
    from mmengine.registry import MODELS, DefaultScope

    channels, strides = [8, 16, 16, 24], [4, 8, 16, 16]
    arch = dict(dims=(4, *channels), depths=(1,) * 5, heads=4)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(
            dict(
                type='mmspike.SpikeEncoderDecoder',
                backbone=dict(type='mmspike.ESpikeFormer', arch=arch, out_indices=(1, 2, 3, 4)),
                neck=dict(
                    type='mmspike.SpikeFPN', in_channels=channels, out_channels=8, num_outs=4
                ),
                decode_head=dict(
                    type='mmspike.SpikeFPNHead',
                    in_channels=[8] * 4,
                    in_index=[0, 1, 2, 3],
                    feature_strides=strides,
                    channels=8,
                    num_classes=3,
                ),
            )
        )
    neurons = [m for m in model.modules() if isinstance(m, SpikingNeuron)]
    assert {(type(m), m.levels, m.decay) for m in neurons} == {(NILIF, 4, 0.25)}
    assert len([m for m in model.decode_head.modules() if isinstance(m, NILIF)]) > 0


def test_sepconv_has_a_neuron_before_each_convolution():
    layer = SpikeSepConv(8, kernel_size=5, ratio=3)
    convs = [m for m in layer.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.kernel_size[0], c.groups, c.out_channels) for c in convs] == [
        (1, 1, 24),
        (5, 24, 24),
        (1, 1, 8),
    ]
    assert all(isinstance(conv.neuron, SpikingNeuron) for conv in convs)


@pytest.mark.parametrize('kind', ['SpikeLinearClsHead', 'SpikeDistilledClsHead'])
def test_every_linear_layer_of_a_head_sees_counts_where_it_is_asked_for(kind):
    pytest.importorskip('mmpretrain', reason='the heads are of mmpretrain')
    from mmspike.models import heads

    for counts, unit in ((True, 1.0), (False, 0.25)):
        with default_neuron(dict(type=NILIF, levels=4)):
            head = getattr(heads, kind)(in_channels=8, num_classes=3, counts=counts)
        units = [m.unit for m in head.modules() if isinstance(m, SpikingNeuron)]
        assert units == [unit] * (2 if 'Distilled' in kind else 1)
