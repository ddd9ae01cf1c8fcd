"""Energy against the paper's formula written out, another counter, and bad tables."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch.utils.flop_counter import FlopCounterMode

from mmspike.analysis import FiringRateRecorder
from mmspike.analysis.energy_meter import EnergyMeter, use_rates
from mmspike.analysis.spike_driven import randomize_norms
from mmspike.analysis.spike_kinds import ANALOG, INTEGERS
from mmspike.deploy import reparameterize
from mmspike.engine import load_config
from mmspike.models.backbones import MetaSpikeFormer

T, B = 2, 2
TINY = dict(dims=(4, 8, 16, 16, 24), depths=(1, 1, 1, 2, 1), heads=4)
ROOT = Path(__file__).parents[2]


def measured(model, x):
    merged = reparameterize(model, 'spike')
    with torch.no_grad(), EnergyMeter(merged) as meter:
        merged(x)
    return meter.energy()


def tiny(**options):
    torch.manual_seed(0)
    model = randomize_norms(MetaSpikeFormer(TINY, time_steps=T, **options))
    return model.double().eval()  # So that merging moves no spike.


def made_up(number):
    """A firing rate that no formula of the model can hit by chance."""
    return ((number * 37) % 61) / 100 + 0.01


def paper_millijoule(dims, depths, heads, size, steps, rates, sep_conv=True):
    """The paper's estimate, written out: `rates` gives a layer's rate by its names.

    Returns:
        The energy of the first convolution in one step, and that of all other layers.
    """
    e_mac, e_ac = 4.6e-9, 0.9e-9
    sides = [size // stride for stride in (2, 4, 8, 16, 16)]
    first = 7 * 7 * 3 * dims[0] * sides[0] ** 2 * e_mac
    others = 0.0
    for i, name in enumerate(['Stage 1a', 'Stage 1b', 'Stage 2', 'Stage 3', 'Stage 4']):
        c, n = dims[i], sides[i] ** 2

        def add(block, operator, flops, name=name):
            nonlocal others
            others += flops * steps * rates[name, block, operator] * e_ac

        if i > 0:
            add('Downsampling', 'Conv', 9 * dims[i - 1] * c * n)
        for j in range(depths[i]):
            block = f'Block {j + 1}'
            if i < 3:
                if sep_conv:
                    add(block, 'SepConv PWConv1', c * 2 * c * n)
                    add(block, 'SepConv DWConv&PWConv2', 49 * 2 * c * c * n)
                add(block, 'ChannelConv Conv1', 9 * c * 4 * c * n)
                add(block, 'ChannelConv Conv2', 9 * 4 * c * c * n)
            else:
                add(block, 'SDSA RepConv-1/2/3', 3 * 9 * c * c * n)
                for operand in 'QKV':  # T * R * N * D^2 / heads, R the sum of three rates.
                    add(block, f'SDSA {operand}', n * c * c / heads)
                add(block, 'SDSA RepConv-4', 9 * c * c * n)
                add(block, 'ChannelMLP Linear1', 4 * c * c * n)
                add(block, 'ChannelMLP Linear2', 4 * c * c * n)
    return first, others


def test_the_paper_s_estimate_of_the_31m_with_given_rates():
    model = MetaSpikeFormer('31m', time_steps=4).eval()
    found = measured(model, torch.zeros(1, 3, 224, 224))
    rates = {
        cost.layer.key: made_up(i) for i, cost in enumerate(found.costs) if cost.values != ANALOG
    }
    use_rates(found, {key: [rate] for key, rate in rates.items()})
    size = ((48, 96, 192, 384, 480), (1, 1, 2, 6, 2), 8, 224, 4)
    first, others = paper_millijoule(*size, rates)
    assert found.total() == pytest.approx(first + others, rel=1e-12)
    assert found.total(every_step=True) == pytest.approx(4 * first + others, rel=1e-12)
    without = MetaSpikeFormer('31m', 4, variant=dict(token_mixer=None)).eval()
    less = measured(without, torch.zeros(1, 3, 224, 224))
    use_rates(less, {t.layer.key: [rates[t.layer.key]] for t in less.costs if t.values != ANALOG})
    _, others = paper_millijoule(*size, rates, sep_conv=False)
    assert less.total() == pytest.approx(first + others, rel=1e-12)


@pytest.mark.parametrize(
    ('attention', 'numbers', 'operands'),
    [('sdsa1', '1/2/3', ('query', 'key', 'value')), ('sdsa2', '1/3', ('query', 'value'))],
)
def test_sdsa_1_and_2_cost_n_times_d_for_each_of_their_operands(attention, numbers, operands):
    model, x = tiny(variant=dict(attention=attention)), torch.randn(B, 3, 64, 64).double()
    with torch.no_grad(), FiringRateRecorder(model) as recorder:
        model(x)
    found = {t.layer.key[1:]: t for t in measured(model, x).costs if t.layer.stage == 'Stage 3'}
    n, d = 16, 16
    names = {operator for block, operator in found if block == 'Block 2' and 'SDSA' in operator}
    weights = {f'SDSA RepConv-{numbers}', 'SDSA RepConv-4'}
    assert names == weights | {f'SDSA {operand[0].upper()}' for operand in operands}
    for operand in operands:
        rates = recorder.rates[f'stages.3.1.token_mixer.{operand}_neuron'].double()
        additions = found['Block 2', f'SDSA {operand[0].upper()}'].additions
        torch.testing.assert_close(additions, B * n * d * rates, rtol=1e-6, atol=1e-6)
        assert rates.min() > 0
    (macs,) = set(found['Block 2', f'SDSA RepConv-{numbers}'].macs.tolist())
    assert macs == B * len(operands) * 9 * d * d * n


@pytest.mark.parametrize('variant', [None, dict(qkv='linear', proj='linear'), dict(conv_stages=0)])
def test_operations_agree_with_torch_s_counter(variant):
    """Layer by layer as they are, unmerged, which is how the ANN twin runs them."""
    model = MetaSpikeFormer(TINY, variant=variant).eval()
    x = torch.zeros(1, 3, 48, 64)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    found = measured(model, x)
    assert sum(cost.twin for cost in found.costs) == counter.get_total_flops() / 2
    counts = {name: sum(flops.values()) / 2 for name, flops in counter.get_flop_counts().items()}
    compared = 0
    for cost in found.costs:
        own = counts.get(f'MetaSpikeFormer.{cost.layer.name}')
        if own and cost.layer.operator.startswith(('Channel', 'Conv', 'SepConv PW')):
            assert float(cost.macs.sum()) == own
            compared += 1
    assert compared >= 9


def test_rates_are_those_of_the_neurons():
    model, x = tiny(), torch.randn(B, 3, 32, 32).double()
    with torch.no_grad(), FiringRateRecorder(model) as recorder:
        model(x)
    found = {cost.layer.name: cost for cost in measured(model, x).costs}
    for layer, neuron in (
        ('downsamplings.2', 'downsamplings.2.conv.neuron'),
        ('stages.0.0.token_mixer.depthwise', 'stages.0.0.token_mixer.depthwise.neuron'),
        ('stages.3.0.token_mixer.query_conv', 'stages.3.0.token_mixer.neuron'),
        ('stages.3.1.token_mixer.key_neuron', 'stages.3.1.token_mixer.key_neuron'),
        ('stages.4.0.token_mixer.proj', 'stages.4.0.token_mixer.attention_neuron'),
    ):
        rates = recorder.rates[neuron].double()
        torch.testing.assert_close(found[layer].rates, rates, rtol=1e-6, atol=1e-7)
        assert 0 < rates.min()
    assert len(found) == len(measured(model, x).costs)


def test_an_image_costs_the_same_in_any_batch_and_a_sequence_encodes_every_frame():
    model = tiny()
    x = torch.randn(B, 3, 32, 32).double()
    one, other = (measured(model, x[i : i + 1]).total() for i in range(B))
    both = measured(model, x)
    assert both.total() == pytest.approx((one + other) / 2)
    sequence = measured(model, x.unsqueeze(1).expand(-1, T, -1, -1, -1))
    assert sequence.total() == pytest.approx(both.total(every_step=True))
    assert sequence.total() == sequence.total(every_step=True)


def test_sew_is_driven_by_integers_and_the_mean_leaves_an_ann_behind():
    found = measured(tiny(variant=dict(shortcut='sew')), torch.randn(B, 3, 64, 64).double())
    assert {t.layer.operator for t in found.costs if t.values == INTEGERS} >= {'ChannelConv Conv1'}
    assert [t.layer.name for t in found.costs if t.values == ANALOG] == ['downsamplings.0']


def test_additions_of_shortcuts_are_listed():
    found = measured(tiny(), torch.randn(B, 3, 32, 32).double())
    sizes = {i: T * B * c * n for i, c, n in ((0, 4, 256), (3, 16, 4), (4, 24, 4))}
    for i, count in sizes.items():
        assert found.analog['addition of maps', f'stages.{i}.0'] == 2 * count


def test_a_detector_counts_the_rois_that_it_had():
    pytest.importorskip('mmdet', reason='detectors are models of mmdet')
    config = load_config(ROOT / 'configs' / 'mask_rcnn_metaspike-tiny_t1_shapes.py')
    config.model.backbone.update(arch=dict(TINY), time_steps=T)
    config.model.neck.in_channels = [TINY['dims'][i] for i in config.model.backbone.out_indices]
    with DefaultScope.overwrite_default_scope('mmdet'):
        from mmdet.structures import DetDataSample

        model = reparameterize(randomize_norms(MODELS.build(config.model)).eval(), 'spike')
        meta = dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0))
        batch = dict(
            inputs=[torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8) for _ in range(B)],
            data_samples=[DetDataSample(metainfo=meta) for _ in range(B)],
        )
        rois = []
        model.roi_head.bbox_head.register_forward_pre_hook(lambda _, x: rois.append(len(x[0])))
        with torch.no_grad(), EnergyMeter(model) as meter:
            model.test_step(batch)
    found = meter.energy()
    (cost,) = [t for t in found.costs if t.layer.name == 'roi_head.bbox_head.shared_fcs.0']
    layer = model.roi_head.bbox_head.shared_fcs[0]
    assert rois[0] > B
    assert float(cost.macs.sum()) == rois[0] * layer.in_features * layer.out_features
    assert cost.layer.part == 'head'
    kinds = {kind for kind, _ in found.analog}
    assert {'RoIAlign (MAC)', 'addition of maps', 'pooling (comparisons or additions)'} <= kinds


def test_given_rates_tell_what_is_silent():
    found = measured(MetaSpikeFormer(TINY).eval(), torch.zeros(1, 3, 32, 32))
    silent = [cost for cost in found.costs if cost.is_silent]
    assert len(silent) > 1, 'an untrained network'
    keys = [t.layer.key for t in found.costs if t.values != ANALOG]
    use_rates(found, {key: [0.25 * (key != silent[0].layer.key)] for key in keys})
    assert [cost for cost in found.costs if cost.is_silent] == silent[:1]
