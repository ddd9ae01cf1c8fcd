"""The backbone: counts, shapes, time, options and bad input."""

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.models.backbones import MetaSpikeFormer
from mmspike.neurons import LIF

T, B = 2, 2
TINY = dict(dims=(4, 8, 16, 16, 24), depths=(1, 1, 1, 1, 1), heads=4)


def tiny(**options):
    torch.manual_seed(0)
    return randomize_norms(MetaSpikeFormer(**{'arch': TINY, 'time_steps': T, **options}))


@pytest.mark.parametrize(
    ('arch', 'parameters'), [('15m', 15_112_208), ('31m', 31_333_864), ('55m', 55_350_248)]
)
def test_parameters_with_the_1000_class_head(arch, parameters):
    model = MetaSpikeFormer(arch)
    head = nn.Linear(model.out_channels[-1], 1000)
    assert sum(p.numel() for m in (model, head) for p in m.parameters()) == parameters


def test_the_model_of_these_tests_fires():
    model, rates = tiny().eval(), []
    for module in model.modules():
        if isinstance(module, LIF):
            module.register_forward_hook(lambda _, __, out: rates.append(out.mean().item()))
    model(torch.randn(B, 3, 32, 32))
    assert 0.02 < min(rates)
    assert max(rates) < 0.98


@pytest.mark.parametrize('size', [(32, 32), (65, 97), (33, 31), (16, 1), (1, 1)])
def test_outputs_have_the_strides_and_channels_they_tell(size):
    model = tiny().eval()
    outs = model(torch.randn(B, 3, *size))
    assert model.out_strides == (2, 4, 8, 16, 16)
    for out, channels, stride in zip(outs, model.out_channels, model.out_strides, strict=True):
        assert out.shape == (T * B, channels, -(-size[0] // stride), -(-size[1] // stride))


def test_out_indices_select_in_their_order():
    x = torch.randn(B, 3, 32, 32)
    everything = tiny().eval()(x)
    model = tiny(out_indices=(3, 1)).eval()
    assert model.out_strides == (16, 4)
    assert model.out_channels == (16, 8)
    for out, i in zip(model(x), (3, 1), strict=True):
        assert torch.equal(out, everything[i])


def test_outputs_are_the_sums_that_leave_the_last_blocks():
    model = tiny().eval()
    sums = []
    for stage in model.stages:
        stage[-1].register_forward_hook(lambda _, __, out: sums.append(out))
    for out, expected in zip(model(torch.randn(B, 3, 32, 32)), sums, strict=True):
        assert torch.equal(out, expected)
        assert (out < 0).any()
        assert not torch.equal(out, out.round())


def test_a_constant_sequence_equals_the_still_image():
    x = torch.randn(B, 3, 32, 32)
    model = tiny().double().eval()
    still = model(x.double())
    sequence = model(x.double().unsqueeze(1).expand(B, T, 3, 32, 32))
    for a, b in zip(still, sequence, strict=True):
        torch.testing.assert_close(a, b)


def test_samples_are_independent_and_time_is_not():
    model = tiny().eval()
    x = torch.randn(B, T, 3, 32, 32)
    out = model(x)[-1].unflatten(0, (T, B))
    alone = model(x[1:])[-1].unflatten(0, (T, 1))
    torch.testing.assert_close(out[:, 1:], alone)
    swapped = model(x.flip(1))[-1].unflatten(0, (T, B))
    assert not torch.allclose(out.mean(0), swapped.mean(0)), 'the order of frames must matter'


def test_time_reduction_averages_over_time():
    x = torch.randn(B, 3, 32, 32)
    model = tiny(time_reduction='mean').eval()
    assert model.out_time_steps == 1
    for reduced, full in zip(model(x), tiny().eval()(x), strict=True):
        torch.testing.assert_close(reduced, (full[:B] + full[B:]) / 2)


def test_outputs_take_the_channels_and_strides_asked_for():
    wanted = dict(out_indices=(3, 4), out_channels=(8, 40), out_strides=(16, 32))
    outs = tiny(**wanted)(torch.randn(B, 3, 64, 96))
    assert [tuple(out.shape) for out in outs] == [(T * B, 8, 4, 6), (T * B, 40, 2, 3)]
    pooled, plain = (tiny(out_indices=(4,), out_strides=strides) for strides in ((32,), (16,)))
    pooled.load_state_dict(plain.state_dict())
    x = torch.randn(B, 3, 96, 64)
    expected = torch.nn.functional.max_pool2d(plain(x)[0], 3, 2, 1)
    torch.testing.assert_close(pooled(x)[0], expected)


def test_weights_named_for_another_backbone_are_left_out_with_a_warning(monkeypatch):
    said = []
    monkeypatch.setattr('mmspike.models.pretrained.print_log', lambda text, **_: said.append(text))
    assert tiny(pretrained='open-mmlab://resnet50_v1c').pretrained is None
    assert tiny(pretrained='ours.pth').pretrained == 'ours.pth'
    assert len(said) == 1
    assert 'open-mmlab://resnet50_v1c' in said[0]


def test_a_still_image_is_encoded_once():
    model = tiny()
    batches = []
    model.downsamplings[0].conv.register_forward_hook(
        lambda _, args, __: batches.append(len(args[0]))
    )
    model(torch.randn(B, 3, 32, 32))
    assert batches == [B]


def test_every_neuron_gets_the_time_steps_and_the_config():
    model = tiny(time_steps=5, neuron=dict(type='mmspike.LIF', tau=3.0))
    neurons = [m for m in model.modules() if isinstance(m, LIF)]
    assert {n.time_steps for n in neurons} == {5}
    assert {n.tau for n in neurons} == {3.0}


def test_the_paper_form_fires_the_same_spikes_through_the_whole_backbone():
    x = torch.randn(B, 3, 32, 32).double()
    paper = dict(type='mmspike.LIF', decay_input=False, v_threshold=2.0)
    for a, b in zip(tiny().double().eval()(x), tiny(neuron=paper).double().eval()(x), strict=True):
        torch.testing.assert_close(a, b)


def test_a_neuron_may_be_given_as_a_class():
    assert any(isinstance(m, LIF) for m in tiny(neuron=dict(type=LIF, tau=3.0)).modules())


def test_stages_behind_the_last_output_ask_for_no_gradient():
    model = tiny(out_indices=(1, 2)).train()
    sum(out.mean() for out in model(torch.randn(B, 3, 32, 32))).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_relu_gives_the_ann_twin_with_the_same_parameters():
    twin = tiny(neuron=dict(type='ReLU'))
    assert not any(isinstance(m, LIF) for m in twin.modules())
    assert twin.state_dict().keys() == tiny().state_dict().keys()
    assert all(out.isfinite().all() for out in twin(torch.randn(B, 3, 32, 32)))


def train_once(model, x):
    model.train()
    sum(out.pow(2).mean() for out in model(x)).backward()
    return {n: p.grad for n, p in model.named_parameters()}, model.state_dict()


def test_blocks_that_are_computed_again_keep_their_input_alone():
    kept = {}
    for with_cp in (False, True):
        sizes = kept[with_cp] = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x
        )
        model = tiny(with_cp=with_cp).train()
        with hooks:
            model(torch.randn(B, 3, 32, 32))
    assert sum(kept[True]) < 0.4 * sum(kept[False])


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'frozen_stages': 1},
        {'norm_eval': True},
        {'variant': {'shortcut': 'vs'}},
        {'variant': {'shortcut': 'sew'}},
        {'out_indices': (1, 2)},
        {'norm_cfg': {'type': 'BN', 'momentum': None}},  # The average of all batches.
    ],
    ids=str,
)
def test_checkpointing_changes_neither_gradients_nor_statistics(options):
    x = torch.randn(B, 3, 32, 32)
    plain, cheap = tiny(**options).double(), tiny(with_cp=True, **options).double()
    for scale in (3, 1):
        grads, state = train_once(plain, scale * x.double())
        cheap_grads, cheap_state = train_once(cheap, scale * x.double())
    assert {name for name, grad in grads.items() if grad is None} == {
        name for name, grad in cheap_grads.items() if grad is None
    }
    for name, grad in grads.items():
        if grad is not None:
            torch.testing.assert_close(cheap_grads[name], grad, rtol=1e-9, atol=1e-10)
    for name, value in state.items():
        if 'running' in name or 'tracked' in name:
            assert torch.equal(cheap_state[name], value), name


def test_the_order_in_memory_changes_no_result():
    x = torch.randn(B, 3, 34, 32).double()
    usual, last = (tiny(channels_last=flag).double() for flag in (False, True))
    results = [train_once(model, x) for model in (usual, last)]
    for (name, grad), other in zip(results[0][0].items(), results[1][0].values(), strict=True):
        torch.testing.assert_close(other, grad, rtol=1e-9, atol=1e-9, msg=name)
    last.keep_layout = True
    outs = usual.eval()(x), last.eval()(x)
    for out, other in zip(*outs, strict=True):
        torch.testing.assert_close(other, out, rtol=1e-9, atol=1e-12)
        assert out.is_contiguous()
        assert other.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('reduction', [None, 'mean'])
@pytest.mark.parametrize('time_steps', [1, T])
def test_a_stock_model_gets_features_in_the_usual_order(time_steps, reduction):
    model = tiny(channels_last=True, time_reduction=reduction, time_steps=time_steps)
    assert all(out.is_contiguous() for out in model(torch.randn(B, 3, 34, 32)))


@pytest.mark.parametrize('channels_last, last', [(None, True), (True, True), (False, False)])
def test_weights_are_ordered_before_the_first_forward(channels_last, last):
    """What wraps the model for several processes looks at them only then."""
    model = nn.Sequential(tiny(channels_last=channels_last))
    expected = torch.channels_last if last else torch.contiguous_format
    for moved in (model, model.double(), model.to(memory_format=torch.preserve_format)):
        strides = {n: p.stride() for n, p in moved.named_parameters()}
        for name, weight in moved.named_parameters():
            if weight.dim() == 4:
                assert weight.is_contiguous(memory_format=expected), name
    moved(torch.randn(B, 3, 34, 32).double())
    assert strides == {n: p.stride() for n, p in moved.named_parameters()}


def test_a_model_that_first_inferred_can_be_trained():
    model = tiny(channels_last=True)
    with torch.inference_mode():
        model(torch.randn(B, 3, 32, 32))
    assert not any(p.is_inference() for p in model.parameters())
    grads, _ = train_once(model, torch.randn(B, 3, 32, 32))
    assert all(grad is not None for grad in grads.values())


def test_frozen_stages_get_no_gradient_and_keep_their_statistics():
    model = tiny(frozen_stages=1)
    before = {n: b.clone() for n, b in model.named_buffers()}
    grads, _ = train_once(model, torch.randn(B, 3, 32, 32))
    for name, grad in grads.items():
        index = int(name.split('.')[1])
        assert (grad is None) == (index <= 1), name
    for name, buffer in model.named_buffers():
        if 'running_mean' in name:
            assert torch.equal(buffer, before[name]) == (int(name.split('.')[1]) <= 1), name


def test_norm_eval_keeps_norms_in_evaluation():
    model = tiny(norm_eval=True).train()
    assert model.training
    assert not any(m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d))


def test_norms_follow_their_config():
    model = tiny(norm_cfg=dict(type='SyncBN'))
    assert not any(type(m) is nn.BatchNorm2d for m in model.modules())


def test_built_from_a_config():
    model = MODELS.build(dict(type='mmspike.MetaSpikeFormer', arch=TINY))
    assert isinstance(model, BaseModule)
    assert model.time_steps == 1


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='16m'), "arch is '16m', but it must be one of 15m, 31m, 55m"),
        (dict(arch=dict(dims=(1, 2))), 'exactly the keys dims, depths and heads'),
        (dict(arch=dict(TINY, dims=(4, 8, 16, 16))), 'must be 5 positive integers'),
        (dict(arch=dict(TINY, depths=(1, 1, 1, 1, 0))), 'must be 5 positive integers'),
        (dict(arch=dict(TINY, heads=5)), 'must be multiples of heads \\(5\\)'),
        (dict(arch=dict(TINY, heads=0)), 'heads is 0'),
        (dict(time_steps=0), 'time_steps is 0'),
        (dict(time_steps=-2), 'time_steps is -2'),
        (dict(time_steps=1.0), 'time_steps is 1.0'),
        (dict(out_indices=(0, 5)), 'must name outputs from 0 to 4'),
        (dict(out_indices=()), 'must name outputs from 0 to 4'),
        (dict(time_reduction='sum'), "time_reduction is 'sum'"),
        (dict(frozen_stages=5), 'frozen_stages is 5'),
        (
            dict(out_indices=(3, 4), out_strides=(16, 64)),
            'out_strides is \\(16, 64\\), but it must',
        ),
        (dict(out_channels=(8, 8)), 'must be 5 numbers, one for each of out_indices'),
        (dict(out_indices=(4,), out_channels=(0,)), 'positive integers'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ((B, 1, 32, 32), 'with C = 3 channels'),
        ((3, 32, 32), 'must be \\[B, C, H, W\\]'),
        ((B, 3, 3, 32, 32), 'a sequence of 3 frames, but time_steps of the backbone is 2'),
    ],
)
def test_bad_input(shape, message):
    with pytest.raises(ValueError, match=message):
        tiny()(torch.randn(shape))
