"""SpikeResNet: against a pre-activation ResNet that is written out, its proof, its weights."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmspike.analysis.energy_meter import EnergyMeter
from mmspike.analysis.spike_driven import OperandRecorder, randomize_norms
from mmspike.commands.check import check
from mmspike.deploy import reparameterize
from mmspike.errors import UserError
from mmspike.layers import SpikeConv2d

spike_resnet = pytest.importorskip(
    'mmspike.models.backbones.spike_resnet', reason='it needs the ResNet of a library'
)
ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path.stem for path in (ROOT / 'configs').glob('*spikeresnet*.py'))
SpikeResNet = spike_resnet.SpikeResNet
BATCH_NORM = nn.modules.batchnorm._BatchNorm
T, B = 2, 2
NARROW = dict(base_channels=8, stem_channels=8)
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
# What torchvision's ResNets have, with a classifier of 1000 classes.
PARAMETERS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032}


def build(depth=18, **options):
    torch.manual_seed(0)
    model = SpikeResNet(depth, **{**NARROW, 'time_steps': T, **options})
    return randomize_norms(model).eval()


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.randn(B, 3, 64, 96)


def pre_activation(weights, depth, x):
    """A pre-activation ResNet (He et al., 2016) on the weights of an ordinary one, in functions.

    It differs from theirs in nothing but the norms, which stay behind their convolutions.
    """

    def conv(name, norm, x, stride=1):
        weight = weights[f'{name}.weight']
        x = nn.functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        mean, variance = weights[f'{norm}.running_mean'], weights[f'{norm}.running_var']
        scale, shift = weights[f'{norm}.weight'], weights[f'{norm}.bias']
        return nn.functional.batch_norm(x, mean, variance, scale, shift)

    x = nn.functional.max_pool2d(conv('conv1', 'bn1', x, 2), 3, 2, 1)
    outs = []
    for stage, count in enumerate(DEPTHS[depth], 1):
        for block in range(count):
            name, stride = f'layer{stage}.{block}', 2 if stage > 1 and not block else 1
            shortcut, fired = x, x.relu()
            if f'{name}.downsample.0.weight' in weights:
                downsample = f'{name}.downsample'
                shortcut = conv(f'{downsample}.0', f'{downsample}.1', fired, stride)
            convs = 3 if depth == 50 else 2
            at = 2 if depth == 50 else 1  # Where the stride is.
            for i in range(1, convs + 1):
                x = conv(f'{name}.conv{i}', f'{name}.bn{i}', fired, stride if i == at else 1)
                fired = x.relu()
            x = x + shortcut
        outs.append(x)
    return outs


@pytest.mark.parametrize('depth', DEPTHS)
def test_with_relu_it_is_a_pre_activation_resnet(depth, images):
    model = build(depth, neuron=dict(type='ReLU'), time_reduction='mean').double()
    expected = pre_activation(model.state_dict(), depth, images.double())
    with torch.no_grad():
        outs = model(images.double())
    assert [out.shape[-1] for out in outs] == [24, 12, 6, 3]
    for out, same in zip(outs, expected, strict=True):
        torch.testing.assert_close(out, same, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(('depth', 'shortcut'), list(product(DEPTHS, ('ms', 'sew'))))
def test_parameters_and_names_are_those_of_the_ann(depth, shortcut):
    """The paper's table 1 counts 21.8M for 34 layers and 25.6M for 50, of either shortcut."""
    with torch.device('meta'):
        model = SpikeResNet(depth, shortcut=shortcut, channels_last=False)
        stock = spike_resnet.ResNet(depth)
    assert model.state_dict().keys() == stock.state_dict().keys()
    classifier = 1000 * (model.stage_channels[-1] + 1)
    assert sum(p.numel() for p in model.parameters()) + classifier == PARAMETERS[depth]


def merged_operands(model, images, form='spike'):
    with torch.no_grad(), OperandRecorder(reparameterize(model, form)) as recorder:
        recorder._model(images)
    assert recorder.not_run == []
    first, *rest = recorder.operands
    assert (first.name, first.verdict) == ('conv1', 'image')
    return {operand.name: operand.kind for operand in rest}


@pytest.mark.parametrize('depth', DEPTHS)
def test_membrane_shortcuts_leave_spikes_to_all_weights(depth, images):
    model = build(depth)
    assert set(merged_operands(model, images).values()) == {'spikes'}
    outs = model(images)
    assert all((out < 0).any() and (out != out.round()).any() for out in outs), 'potentials'


# What enters a stage fires at most once (through its `downsample`, or the stem), and each block
# adds one.
MOST = {18: (3, 3, 3, 3), 34: (4, 5, 7, 4), 50: (4, 5, 7, 4)}


@pytest.mark.parametrize('depth', DEPTHS)
def test_sew_shortcuts_add_spikes_to_spikes(depth, images):
    model = build(depth, shortcut='sew')
    for out, most in zip(model(images), MOST[depth], strict=True):
        assert 1 < out.max() <= most
        assert torch.equal(out, out.round()) and out.min() == 0
    kinds = merged_operands(model, images)
    counts = {name for name, kind in kinds.items() if kind == 'integers'}
    # Only what stands first in a block sees sums.
    assert counts and {name.partition('.')[2] for name in counts} <= {
        f'{block}.{layer}' for block in range(6) for layer in ('conv1', 'downsample.0')
    }
    assert set(kinds.values()) == {'spikes', 'integers'}


def test_a_block_of_either_shortcut_by_hand():
    """One channel and norms that double: what is added stands before or behind the neuron."""
    x = torch.tensor([0.6, 1.0, 2.0, -3.0]).view(4, 1, 1, 1)
    found = {}
    for shortcut in ('ms', 'sew'):
        neuron = dict(type='mmspike.LIF', decay_input=False)
        model = SpikeResNet(18, shortcut=shortcut, base_channels=1, stem_channels=1, neuron=neuron)
        block = model.eval().layer1[0]
        for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
            conv.weight.data.zero_()[0, 0, 1, 1] = 1
            norm.weight.data.fill_(2 * (1 + norm.eps) ** 0.5)
        found[shortcut] = block(x if shortcut == 'ms' else (x >= 1).float()).flatten()
    torch.testing.assert_close(found['ms'], torch.tensor([0.6, 3.0, 4.0, -3.0]))
    assert found['sew'].tolist() == [0, 2, 2, 0]


@pytest.mark.parametrize('shortcut', ['ms', 'sew'])
def test_merged_it_has_no_norm_and_computes_the_same(shortcut, images):
    model = build(shortcut=shortcut).double()
    merged = reparameterize(model)
    assert not any(isinstance(m, BATCH_NORM) for m in merged.modules())
    with torch.no_grad():
        for own, same in zip(merged(images.double()), model(images.double()), strict=True):
            torch.testing.assert_close(own, same, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('levels', [2, 4])
def test_unrolled_it_computes_the_same_and_weights_see_spikes(levels, images):
    model = build(neuron=dict(type='mmspike.NILIF', levels=levels)).double()
    unrolled = reparameterize(model, 'unroll')
    with torch.no_grad():
        for own, same in zip(unrolled(images.double()), model(images.double()), strict=True):
            torch.testing.assert_close(own, same, rtol=1e-9, atol=1e-9)
    assert set(merged_operands(model, images.double()).values()) == {'integers'}
    assert set(merged_operands(model, images.double(), 'unroll').values()) == {'spikes'}


def test_sums_of_counts_cannot_be_unrolled():
    model = build(shortcut='sew', neuron=dict(type='mmspike.ILIF'))
    with pytest.raises(UserError, match=r"neuron is a ILIF .*'sew' hand counts on"):
        reparameterize(model, 'unroll')


@pytest.mark.parametrize('shortcut', ['ms', 'sew'])
def test_a_still_image_is_encoded_once_and_is_a_sequence_that_does_not_move(shortcut, images):
    model = build(shortcut=shortcut)
    seen = []
    model.conv1.register_forward_hook(lambda _, inputs, out: seen.append(len(out)))
    still, moving = model(images), model(images.unsqueeze(1).repeat(1, T, 1, 1, 1))
    assert seen == [B, T * B]
    for own, same in zip(still, moving, strict=True):
        assert len(own) == T * B
        torch.testing.assert_close(own, same)
    with torch.no_grad(), EnergyMeter(reparameterize(model)) as meter:
        meter._model(images)
    (stem, *rest) = meter.energy().costs
    assert (stem.layer.name, stem.repeats, len(stem.macs)) == ('conv1', T, 1)
    assert all(len(cost.macs) == T for cost in rest)


@pytest.mark.parametrize('shortcut', ['ms', 'sew'])
def test_training_reaches_every_weight_also_with_checkpointing(shortcut, images):
    grads = []
    for with_cp in (False, True):
        model = build(shortcut=shortcut, with_cp=with_cp).train()
        sum(out.square().mean() for out in model(images)).backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
        grads[-1]['mean'] = model.layer4[1].bn2.running_mean
    for name, grad in grads[0].items():
        assert grad is not None and grad.any(), name
        torch.testing.assert_close(grads[1][name], grad)


@pytest.mark.parametrize('shortcut', ['ms', 'sew'])
def test_blocks_begin_as_identities_unless_spikes_are_added(shortcut):
    """As in the stock ResNet; a norm of zeros before a neuron would silence the block."""
    model = SpikeResNet(18, shortcut=shortcut, **NARROW)
    model.init_weights()
    assert model.layer4[1].bn2.weight.any() == (shortcut == 'sew')
    assert all(p.std() > 0 for n, p in model.named_parameters() if 'conv' in n)


def test_freezing_counts_as_in_the_stock_resnet():
    model = SpikeResNet(18, frozen_stages=1, **NARROW).train()
    stock = spike_resnet.ResNet(18, frozen_stages=1, norm_eval=False, **NARROW)
    stock.train()
    trained = {name for name, p in stock.named_parameters() if p.requires_grad}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trained
    assert {
        n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training
    } == {n for n, m in stock.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training}
    assert 'layer2.0.conv1.weight' in trained and 'layer1.0.conv1.weight' not in trained


def ann_weights(prefix=''):
    """The weights of an ordinary ResNet-18, with those of its classifier."""
    torch.manual_seed(3)
    weights = spike_resnet.ResNet(18, **NARROW).state_dict()
    weights = {f'{prefix}{name}': torch.randn(v.shape) for name, v in weights.items()}
    return weights | {('head.' if prefix else '') + 'fc.weight': torch.ones(1000, 64)}


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
@pytest.mark.parametrize('shortcut', ['ms', 'sew'])
def test_it_starts_from_the_weights_of_an_ann(prefix, shortcut, tmp_path):
    """As torchvision's file names them, and as OpenMMLab's."""
    path = tmp_path / 'resnet18.pth'
    weights = ann_weights(prefix)
    torch.save(dict(state_dict=weights) if prefix else weights, path)
    model = SpikeResNet(18, shortcut=shortcut, pretrained=str(path), **NARROW)
    model.init_weights()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[prefix + name].to(value.dtype))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda w: {k.replace('layer', 'stages.'): v for k, v in w.items()}, 'it lacks layer1.0'),
        (lambda w: {f'trunk.{k}': v for k, v in w.items()}, 'of another network, .* trunk.conv1'),
        (lambda w: {k.replace('conv1', 'stem'): v for k, v in w.items()}, 'it lacks conv1.weight'),
        (lambda w: {**w, 'conv1.weight': torch.ones(16, 3, 7, 7)}, r'of another size .*conv1'),
    ],
)
def test_an_ann_checkpoint_that_does_not_fit_is_refused(change, words, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(change(ann_weights()), path)
    model = SpikeResNet(18, pretrained=str(path), **NARROW)
    with pytest.raises(UserError, match=words):
        model.init_weights()


def test_the_zoo_name_of_its_ann_is_its_start_as_in_stock_configs():
    start = 'torchvision://resnet18'
    model = SpikeResNet(18, pretrained=start, **NARROW)
    assert model.init_cfg == dict(type='Pretrained', checkpoint=start) and model.pretrained is None
    other = SpikeResNet(18, pretrained='open-mmlab://resnet18_v1c', **NARROW)
    assert other.pretrained is None and 'Pretrained' not in str(other.init_cfg)


def test_a_file_that_is_not_there(tmp_path):
    model = SpikeResNet(18, pretrained=str(tmp_path / 'resnet18.pth'), **NARROW)
    with pytest.raises(UserError, match=r"resnet18.pth', which is not there: .* ResNet's, such as"):
        model.init_weights()


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(depth=20), 'depth=20 .* one of 18, 34, 50, 101, 152'),
        (dict(depth=18, shortcut='vs'), "shortcut='vs', .* 'ms' or 'sew'"),
        (dict(depth=18, deep_stem=True), 'deep_stem=True, .* leave deep_stem out'),
        (dict(depth=18, frozen_stages=5), 'frozen_stages is 5, .* to 4'),
        (dict(depth=18, out_indices=(4,)), r'out_indices is \(4,\), .* from 0 to 3'),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(UserError, match=words):
        SpikeResNet(**options)


def test_layers_that_cannot_spike_are_refused():
    if not hasattr(spike_resnet.ResNet, 'make_stage_plugins'):
        pytest.skip('the ResNet of mmpretrain takes no deformable convolutions')
    dcn = dict(type='DCNv2', deform_groups=1)
    with pytest.raises(UserError, match=r'SpikeResNet has a ModulatedDeformConv2d\w* at layer1.0'):
        SpikeResNet(50, dcn=dcn, stage_with_dcn=(True,) * 4, **NARROW)


def test_its_convolutions_are_the_stock_ones_with_a_neuron():
    model = SpikeResNet(18, **NARROW)
    assert type(model.conv1) is nn.Conv2d
    spiking = [m for m in model.modules() if isinstance(m, SpikeConv2d)]
    assert len(spiking) == 19 == sum(isinstance(m, nn.Conv2d) for m in model.modules()) - 1


STOCK_CONFIGS = {
    'mmdet': ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', (4, 8, 16, 32)),
    'mmseg': ('fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py', (4, 8, 8, 8)),
}


@pytest.mark.slow
@pytest.mark.parametrize('library', STOCK_CONFIGS)
def test_in_a_stock_config_it_takes_the_place_of_the_resnet(library):
    """With the arguments that the config has for its own."""
    file, strides = STOCK_CONFIGS[library]
    folder = Path(pytest.importorskip(library, reason='its own config').__file__).parent
    config = Config.fromfile(folder / '.mim/configs' / file)
    norm_cfg = dict(type='BN', requires_grad=True)
    backbone = dict(time_steps=T, time_reduction='mean', norm_cfg=norm_cfg)
    stock = config.model.copy()
    config.merge_from_dict({'model.backbone': dict(type='mmspike.SpikeResNet', **backbone)})
    with DefaultScope.overwrite_default_scope(library):
        model, stock = MODELS.build(config.model), MODELS.build(stock)
    model.train()
    stock.train()
    assert model.backbone.out_strides == strides
    with torch.no_grad():
        outs = model.backbone(torch.randn(B, 3, 64, 64))
        own = model.extract_feat(torch.randn(B, 3, 64, 64))
    assert [(len(out), 64 // out.shape[-1]) for out in outs] == [(B, s) for s in strides]
    assert {len(level) for level in own} == {B}
    if library == 'mmdet':  # mmseg's has another stem.
        told = [{n for n, p in m.named_parameters() if p.requires_grad} for m in (model, stock)]
        assert told[0] == told[1]
        assert not any(m.training for m in model.backbone.modules() if isinstance(m, BATCH_NORM))


@pytest.mark.slow
@pytest.mark.parametrize('name', CONFIGS)
def test_every_weight_of_its_configs_sees_spikes(name):
    path = ROOT / 'configs' / f'{name}.py'
    pytest.importorskip(Config.fromfile(path).default_scope, reason='the library of this config')
    options = ['pretrained=None', f'model.backbone.time_steps={T}']
    first, *rest = check(
        [str(path), '--size', '64', '--deploy', 'unroll', '--cfg-options', *options]
    )
    assert (first.name, first.verdict) == ('backbone.conv1', 'image')
    assert {operand.kind for operand in rest} == {'spikes'}


@pytest.mark.slow
def test_the_check_knows_that_sew_adds_spikes(capsys):
    pytest.importorskip('mmseg', reason='the library of the config')
    path = ROOT / 'configs/semantic_fpn_spikeresnet18_t1_camvid.py'
    neuron = ['model.backbone.neuron.type=mmspike.LIF', 'model.backbone.shortcut=sew']
    operands = check([str(path), '--size', '64', '--cfg-options', *neuron])
    assert {operand.kind for operand in operands[1:]} == {'spikes', 'integers'}
    assert 'integer-driven' in capsys.readouterr().out


OTHER = """
import sys
for library in sys.argv[2:]:
    sys.modules[library] = None
import torch
from mmspike.models import SpikeResNet
torch.set_grad_enabled(False)
saved = torch.load(sys.argv[1])
for shortcut, (weights, outs) in saved['runs'].items():
    model = SpikeResNet(18, shortcut=shortcut, base_channels=8, stem_channels=8, time_steps=2)
    model.load_state_dict(weights)
    for own, same in zip(model.eval()(saved['images']), outs, strict=True):
        torch.testing.assert_close(own, same)
    fresh = SpikeResNet(18, shortcut=shortcut, base_channels=8, stem_channels=8)
    fresh.init_weights()
    assert fresh.layer4[1].bn2.weight.any() == (shortcut == 'sew'), shortcut
print(SpikeResNet.__mro__[2].__module__)
"""


@pytest.mark.slow
@pytest.mark.parametrize('library', ['mmdet', 'mmpretrain'])
def test_the_resnet_of_every_library_serves(library, images, tmp_path):
    for name in ('mmseg', library):
        pytest.importorskip(name, reason='it is compared')
    runs = {s: build(shortcut=s) for s in ('ms', 'sew')}
    with torch.no_grad():
        runs = {s: (model.state_dict(), model(images)) for s, model in runs.items()}
    torch.save(dict(runs=runs, images=images), tmp_path / 'runs.pth')
    absent = ['mmseg'] if library == 'mmdet' else ['mmseg', 'mmdet']
    command = [sys.executable, '-c', OTHER, str(tmp_path / 'runs.pth'), *absent]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == f'{library}.models.backbones.resnet'
