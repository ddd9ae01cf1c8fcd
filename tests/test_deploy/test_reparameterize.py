"""The merged forms compute what the model computes, borders included, and are as merged as told."""

import copy
from pathlib import Path

import pytest
import torch
from mmcv.cnn import ConvModule, ConvWS2d
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from narrow_models import narrow
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrizations, parametrize, prune

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.deploy import FORMS, reparameterize
from mmspike.errors import UserError
from mmspike.layers import SDSA3, ConvNorm, RepConv, SepConv, SpikeConv2d, SpikeLinear
from mmspike.models.backbones import MetaSpikeFormer
from mmspike.neurons import LIF, set_time_steps

EXACT = [form for form in FORMS if 'int8' not in form]  # Those round: test_int8*.py.
CONFIGS = Path(__file__).parents[2] / 'configs'
B = 2
TINY = dict(dims=(4, 8, 16, 16, 24), depths=(1, 1, 1, 1, 1), heads=4)


def norms(model):
    return [m for m in model.modules() if isinstance(m, _BatchNorm)]


def spikes_of(model, run):
    """What every neuron fires, in the order of execution, and what `run` returns."""
    fired = []
    handles = [
        m.register_forward_hook(lambda _, __, out: fired.append(out))
        for m in model.modules()
        if isinstance(m, LIF)
    ]
    with torch.no_grad():
        result = run(model)
    for handle in handles:
        handle.remove()
    return fired, result


def compare(model, form, run):
    merged = reparameterize(model, form)
    expected, wanted = spikes_of(model, run)
    fired, got = spikes_of(merged, run)
    assert len(fired) == len(expected)
    for own, theirs in zip(fired, expected, strict=True):
        assert torch.equal(own, theirs)
    assert sum(0 < own.mean() < 1 for own in fired) > 0.9 * len(fired)
    wanted, got = (r if isinstance(r, (list, tuple)) else [r] for r in (wanted, got))
    for own, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-9, atol=1e-9)
    return merged


@pytest.mark.parametrize('form', EXACT)
@pytest.mark.parametrize('time_steps', [1, 4])
@pytest.mark.parametrize(
    'variant',
    [None, dict(qkv='linear', proj='linear', shortcut='vs'), dict(shortcut='sew', stem_stride=4)],
    ids=str,
)
def test_the_backbone(form, time_steps, variant):
    torch.manual_seed(0)
    options = dict(time_steps=time_steps, variant=variant)
    model = randomize_norms(MetaSpikeFormer(TINY, **options)).double().eval()
    x = torch.randn(B, 3, 65, 47, dtype=torch.float64)  # Odd sizes: borders everywhere.
    before = copy.deepcopy(model.state_dict())
    merged = compare(model, form, lambda m: m(x))
    assert not norms(merged)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize('form', EXACT)
def test_a_rep_conv_alone_borders_included(form):
    torch.manual_seed(0)
    layer = randomize_norms(nn.Sequential(RepConv(5))).double().eval()
    merged = reparameterize(layer, form)
    x = torch.randn(B, 5, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(merged(x), layer(x), rtol=1e-12, atol=1e-12)
    if form == 'spike':
        assert merged[0].weight.shape == (5, 5, 3, 3)


def test_the_forms_are_as_merged_as_told():
    model = randomize_norms(MetaSpikeFormer(TINY)).eval()
    for form in FORMS:
        merged = reparameterize(model, form)
        assert not [m for m in merged.modules() if isinstance(m, (RepConv, SepConv))]
        grouped = [m for m in merged.modules() if getattr(m, 'groups', 1) > 1]
        assert bool(grouped) == form.startswith('fast')
        kernels = sorted({m.kernel_size[0] for m in merged.modules() if isinstance(m, nn.Conv2d)})
        assert kernels == [1, 3, 7]
    dense = reparameterize(model).stages[0][0].token_mixer[1]
    assert dense.weight.shape == (4, 8, 7, 7)


def whole_model(library, time_steps):
    """A model of every part of its library, with BN in all heads."""
    with DefaultScope.overwrite_default_scope(library):
        name = dict(
            mmdet='mask_rcnn_metaspike-tiny_t1_shapes',
            mmseg='semantic_fpn_metaspike-tiny_t1_shapes',
            mmpretrain='metaspike-tiny_t1_shapes',
        )[library]
        config = Config.fromfile(CONFIGS / f'{name}.py')
        config.model.backbone.time_steps = time_steps
        torch.manual_seed(0)
        return randomize_norms(MODELS.build(config.model)).double().eval()


@pytest.mark.slow
@pytest.mark.parametrize('form', EXACT)
@pytest.mark.parametrize('library', ['mmdet', 'mmseg', 'mmpretrain'])
@pytest.mark.parametrize('time_steps', [1, 4])
def test_whole_models(library, form, time_steps):
    pytest.importorskip(library, reason='the library of this model')
    model = whole_model(library, time_steps)
    x = torch.randn(B, 3, 64, 72, dtype=torch.float64)
    if library == 'mmdet':
        rois = torch.tensor([[0, 3, 5, 40, 50], [1, 0, 0, 60, 60.0]], dtype=torch.float64)

        def run(m):
            levels = m.extract_feat(x)
            scores, deltas = m.rpn_head(levels)
            boxes = m.roi_head._bbox_forward(levels, rois)
            masks = m.roi_head._mask_forward(levels, rois)
            return [*levels, *scores, *deltas, boxes['cls_score'], masks['mask_preds']]
    else:

        def run(m):
            return m(x, mode='tensor')

    merged = compare(model, form, run)
    assert not norms(merged)
    assert norms(model)


@pytest.mark.parametrize('form', EXACT)
def test_a_yolox_keeps_no_norm(form):
    """Each level of its head has convolutions and norms of its own."""
    pytest.importorskip('mmdet', reason='the library of this model')
    model = narrow(Config.fromfile(CONFIGS / 'yolox_metaspike_t1_coco.py'))
    model['backbone']['time_steps'] = 2
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = randomize_norms(MODELS.build(model)).double().eval()
    x = torch.randn(B, 3, 64, 96, dtype=torch.float64)
    assert not norms(compare(model, form, lambda m: [y for level in m(x) for y in level]))


def test_norms_that_cannot_be_folded_stay():
    shared = nn.Conv2d(4, 4, 3, padding=1)
    levels = nn.ModuleList(ConvModule(4, 4, 3, norm_cfg=dict(type='BN')) for _ in range(2))
    for level in levels:
        level.conv = shared
    group = ConvModule(4, 4, 3, norm_cfg=dict(type='GN', num_groups=2))
    model = randomize_norms(nn.ModuleList([*levels, group])).eval()
    merged = reparameterize(model)
    assert len(norms(merged)) == 2
    assert isinstance(merged[2].norm, nn.GroupNorm)
    assert merged[0].conv is merged[1].conv
    x = torch.randn(B, 4, 6, 6)
    for own, theirs in zip(merged, model, strict=True):
        assert torch.equal(own(x), theirs(x))


def spiking_conv():
    neuron = dict(type='mmspike.NILIF', levels=4, time_steps=1)
    return SpikeConv2d(4, 4, 3, padding=1, bias=False, neuron=neuron)


def module_pair(conv):
    pair = [ConvModule(4, 4, 3, norm_cfg=dict(type='BN'), act_cfg=None) for _ in range(2)]
    for module in pair:
        module.conv = conv
    return pair


def tied(conv):
    other = spiking_conv()
    other.weight = conv.weight
    return conv, other


def two_rep_convs(conv):
    pair = RepConv(4), RepConv(4)
    pair[1].depthwise = pair[0].depthwise
    return [nn.Sequential(conv, one) for one in pair]


def two_attentions(conv):
    neuron = dict(type='mmspike.NILIF', levels=4, time_steps=1)
    pair = [SDSA3(4, 2, neuron=neuron, linear_qkv=True) for _ in range(2)]
    pair[0].key_conv = pair[0].query_conv
    pair[1].value_conv.conv = pair[0].value_conv.conv
    return pair


SHARED = {
    'two ConvModules': module_pair,
    'two Sequentials': lambda conv: [nn.Sequential(conv, nn.BatchNorm2d(4)) for _ in range(2)],
    'two ConvNorms': lambda conv: [ConvNorm(conv), ConvNorm(conv)],
    'a Sequential and bare': lambda conv: [nn.Sequential(conv, nn.BatchNorm2d(4)), conv],
    'a ConvModule and bare': lambda conv: [module_pair(conv)[0], conv],
    'one ConvNorm twice': lambda conv: [ConvNorm(conv)] * 2,
    'one RepConv twice': lambda conv: [nn.Sequential(conv, RepConv(4))] * 2,
    'one SepConv twice': lambda conv: [SepConv(4)] * 2,
    'two RepConvs': two_rep_convs,
    'two attentions': two_attentions,
    'one Sequential, the convolution twice': lambda conv: [
        nn.Sequential(conv, nn.BatchNorm2d(4), conv, nn.BatchNorm2d(4))
    ],
    'one ReLU twice': lambda conv: [nn.Sequential(act := nn.ReLU(), conv, act, nn.BatchNorm2d(4))],
    'tied weights': tied,
    'standardized weights': lambda conv: [
        nn.Sequential(conv, ConvWS2d(4, 4, 3), nn.BatchNorm2d(4))
    ],
}


@pytest.mark.parametrize('form', ['spike', 'fast'])
@pytest.mark.parametrize('kind', SHARED)
def test_what_stands_in_two_places(kind, form):
    torch.manual_seed(0)
    model = set_time_steps(nn.ModuleList(SHARED[kind](spiking_conv())), 1)
    model = randomize_norms(model).double().eval()
    x = 2 * torch.randn(B, 4, 6, 6, dtype=torch.float64)
    merged = reparameterize(model, form)
    with torch.no_grad():
        for own, theirs in zip(merged, model, strict=True):
            assert theirs(x).std() > 0
            torch.testing.assert_close(own(x), theirs(x), rtol=1e-9, atol=1e-9)


def test_a_neuron_that_hands_on_its_spikes_too_is_named():
    conv = spiking_conv()
    with pytest.raises(UserError, match=r'^0 is a NILIF, .* do not go into weights alone'):
        reparameterize(nn.ModuleList([conv.neuron, conv]).eval())


@pytest.mark.parametrize(
    'change',
    [
        lambda conv: prune.l1_unstructured(conv, 'weight', 0.5),
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        lambda conv: parametrize.register_parametrization(conv, 'weight', nn.Tanh()),
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
    ],
    ids=['pruned', 'weight norm', 'spectral norm', 'own', 'old weight norm', 'old spectral norm'],
)
@pytest.mark.filterwarnings('ignore:.*weight_norm.*deprecated')
def test_weights_that_are_computed_are_taken_as_they_are_now(change):
    torch.manual_seed(0)
    model = nn.Sequential(spiking_conv(), nn.BatchNorm2d(4), spiking_conv())
    model = randomize_norms(set_time_steps(model, 1)).double().eval()
    for conv in (model[0], model[2]):
        change(conv)
    model.eval()
    x = 2 * torch.randn(B, 4, 6, 6, dtype=torch.float64)
    expected = model(x).detach()  # With gradients: a computed weight is no leaf.
    merged = reparameterize(model)
    assert type(merged[0]) is SpikeConv2d and set(dict(merged[0].named_parameters())) == {
        'weight',
        'bias',
    }
    torch.testing.assert_close(merged(x), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model(x), expected)  # It runs and trains on.


@pytest.mark.parametrize('groups', [1, 2, 4])
def test_a_transposed_convolution_in_groups(groups):
    torch.manual_seed(0)
    conv = nn.ConvTranspose2d(4, 8, 3, stride=2, groups=groups)
    model = randomize_norms(nn.Sequential(conv, nn.BatchNorm2d(8))).double().eval()
    x = torch.randn(B, 4, 5, 5, dtype=torch.float64)
    merged = reparameterize(model)
    assert not norms(merged)
    torch.testing.assert_close(merged(x), model(x), rtol=1e-9, atol=1e-9)


def test_a_linear_layer_with_its_norm():
    layer = set_time_steps(SpikeLinear(4, 3, norm_cfg=dict(type='BN1d')), 2)
    layer = randomize_norms(nn.Sequential(layer)).double().eval()
    x = torch.randn(2 * B, 4, dtype=torch.float64) * 3
    merged = reparameterize(layer)
    assert merged[0].norm is None
    torch.testing.assert_close(merged(x), layer(x), rtol=1e-12, atol=1e-12)


def test_bad_input():
    model = MetaSpikeFormer(TINY)
    with pytest.raises(UserError, match="form is 'fused', but it must be one of spike, fast"):
        reparameterize(model.eval(), 'fused')
    with pytest.raises(UserError, match='training mode.* model.eval'):
        reparameterize(model.train())
    model.stages[3][0].token_mixer.proj.norm3 = nn.BatchNorm2d(16, track_running_stats=False)
    with pytest.raises(UserError, match='stages.3.0.token_mixer.proj has a BatchNorm2d without'):
        reparameterize(model.eval())


@pytest.mark.parametrize('form', FORMS)
def test_merged_weights_lie_as_their_input_will(form):
    merged = reparameterize(MetaSpikeFormer(TINY, channels_last=True).eval(), form)
    for name, weight in merged.named_parameters():
        if weight.dim() == 4:
            assert weight.is_contiguous(memory_format=torch.channels_last), name
