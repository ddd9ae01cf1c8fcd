"""Every shipped spiking config is proven spike-driven, and a planted violation is found."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from narrow_models import narrow
from torch import nn

from mmspike.analysis.spike_driven import Operand, OperandRecorder, randomize_norms
from mmspike.analysis.spike_kinds import kind_of
from mmspike.commands.check import check as check_spike_driven
from mmspike.commands.check import check_operands, is_integer_driven, record_operands
from mmspike.errors import UserError
from mmspike.hosts import LIBRARIES, library_of
from mmspike.neurons import set_time_steps

CONFIGS = Path(__file__).parents[2] / 'configs'
SPIKING = sorted(
    path.stem for word in ('metaspike', 'espikeformer') for path in CONFIGS.glob(f'*{word}*.py')
)
TINY = CONFIGS / 'semantic_fpn_metaspike-tiny_t1_shapes.py'


def small(name):
    """The config with a narrow backbone, neck and heads, and the model that it builds."""
    config = Config.fromfile(CONFIGS / f'{name}.py')
    pytest.importorskip(config.default_scope, reason='the library of this config')
    config.model = narrow(config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return config, randomize_norms(MODELS.build(config.model).eval())


@pytest.mark.slow
@pytest.mark.parametrize('name', SPIKING)
def test_every_shipped_config(name):
    config, model = small(name)
    operands = record_operands(model, config, library_of(config), 96, 'unroll')
    verdict = check_operands(operands, is_integer_driven(config))
    assert sum(operand.is_first for operand in operands) == 1
    assert operands[0].kind in ('analog', 'integers')  # Events are counts.
    products = [o for o in operands if o.operation == 'matrix product']
    attends = max(model.backbone.out_indices) >= 3 and name.find('sdsa1') == name.find('sdsa2')
    assert bool(products) == attends
    declared = 'integer-driven' if '-sew_' in name else 'spike-driven: all'
    assert declared in verdict
    kinds = [operand.kind for operand in operands[1:]]
    assert ('integers' in kinds) == ('-sew_' in name)
    assert 'silent' not in kinds, 'also behind a layer without a norm, as in the mask head'


def test_a_planted_violation_is_named(capsys):
    config, model = small(TINY.stem)
    model.decode_head.scale_heads[0][0].conv.neuron = nn.Identity()
    with pytest.raises(UserError) as refused:
        check_operands(record_operands(model, config, LIBRARIES['mmseg'], 96), False)
    sentence = refused.value.sentence
    assert sentence.startswith('1 of ')
    assert 'decode_head.scale_heads.0.0.conv (convolution: analog)' in sentence


class Halving(nn.Module):
    """What fires halves."""

    def forward(self, x):
        return (x > 0) * 0.5


def test_a_planted_product_of_reals_is_named():
    config, model = small(TINY.stem)
    mixer = model.backbone.stages[3][0].token_mixer
    mixer.key_neuron, mixer.value_neuron = Halving(), Halving()
    with pytest.raises(UserError, match=r'stages.3.0.token_mixer \(matrix product: analog\)'):
        check_operands(record_operands(model, config, LIBRARIES['mmseg'], 96), False)


def test_integers_are_a_violation_unless_declared():
    config, model = small('metaspike-31m-sew_t1_in1k')
    operands = record_operands(model, config, LIBRARIES['mmpretrain'], 96)
    check_operands(operands, True)
    with pytest.raises(UserError, match=r'channel_mixer.0 \(convolution: integers\)'):
        check_operands(operands, False)


def test_one_operand_of_a_product_must_be_spikes():
    class Products(nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = nn.ModuleList([nn.Linear(2, 2)])

        def forward(self, x):
            spikes, reals = (x > 0).float(), x
            self.stages[0](spikes)
            return spikes @ reals, torch.einsum('ij,jk->ik', reals, reals)

    model = Products()
    with OperandRecorder(model) as recorder, torch.no_grad():
        model(torch.randn(4, 4)[:, :2].repeat(1, 1)[:2])
    kinds = {operand.operation: operand.kind for operand in recorder.operands}
    assert kinds == {'linear': 'spikes', 'matrix product': 'spikes', 'einsum': 'analog'}


@pytest.mark.parametrize(
    ('values', 'kind'),
    [
        ([0, 0], 'silent'),
        ([0, 1], 'spikes'),
        ([0, 2], 'integers'),
        ([0, -1], 'analog'),
        ([0.5], 'analog'),
    ],
)
def test_kinds(values, kind):
    assert kind_of(torch.tensor(values, dtype=torch.float32)) == kind


def test_the_command(capsys):
    pytest.importorskip('mmseg', reason='a config of mmseg')
    operands = check_spike_driven([str(TINY), '--size', '64'])
    printed = capsys.readouterr().out
    assert 'spike-driven: all' in printed
    assert all(operand.operation in printed for operand in operands)
    with pytest.raises(UserError, match='is a ReLU, which does not spike'):
        check_spike_driven([str(TINY), '--cfg-options', 'model.backbone.neuron.type=ReLU'])
    with pytest.raises(UserError, match='EncoderDecoder has no spiking neuron'):
        check_spike_driven([str(CONFIGS / 'semantic_fpn_resnet18_camvid.py')])
    with pytest.raises(UserError, match='--size is 0'):
        check_spike_driven([str(TINY), '--size', '0'])


def saw(*kinds):
    """Operations of which the first sees the image and the others these kinds, by their names."""
    first = Operand('backbone.stem', 'convolution', 'analog', 0.1, is_first=True)
    others = [Operand(name, 'convolution', kind, 0.5) for name, kind in kinds]
    return [first, *others]


def test_silence_proves_nothing(capsys):
    found = saw(*((f'backbone.{i}', 'silent') for i in range(5)), ('neck', 'spikes'))
    for integers_allowed in (False, True):
        with pytest.raises(UserError) as refused:
            check_operands(found, integers_allowed, from_checkpoint=True)
        assert refused.value.sentence == (
            'it is not proven that the model is spike-driven, since 5 of 7 operations saw zeros '
            'alone: backbone.0, backbone.1, backbone.2 and 2 more; omit the checkpoint: norms '
            'are then randomized so that the neurons fire.'
        )
    with pytest.raises(UserError, match='1 of 2 .*: neck; try a larger --size or a trained'):
        check_operands(saw(('neck', 'silent')), False)
    assert not capsys.readouterr().out, 'no other verdict'
    with pytest.raises(UserError, match='1 of 3 operations see something other than spikes'):
        check_operands(saw(('neck', 'silent'), ('head', 'analog')), False)
    assert capsys.readouterr().out == '1 operations saw zeros alone: neck\n'


def test_a_checkpoint_with_silent_layers_is_not_proven(tmp_path, capsys):
    pytest.importorskip('mmseg', reason='a config of mmseg')
    config = Config.fromfile(TINY)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = randomize_norms(MODELS.build(config.model))
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'lively.pth')
    check_spike_driven([str(TINY), str(tmp_path / 'lively.pth'), '--size', '64'])
    assert 'spike-driven: all' in capsys.readouterr().out
    torch.nn.init.constant_(model.backbone.downsamplings[2].norm.bias, -1e3)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'dead.pth')
    with pytest.raises(UserError, match='operations saw zeros alone: .*; omit the checkpoint'):
        check_spike_driven([str(TINY), str(tmp_path / 'dead.pth'), '--size', '64'])
    assert 'spike-driven: all' not in capsys.readouterr().out


def test_the_mask_head_of_the_tiny_detector_fires_whatever_its_first_weights():
    config = Config.fromfile(CONFIGS / 'mask_rcnn_metaspike-tiny_t1_shapes.py')
    pytest.importorskip('mmdet', reason='the library of this config')
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = set_time_steps(MODELS.build(config.model.roi_head.mask_head), 2)
    torch.nn.init.zeros_(head.upsample.weight)
    seen = []
    rois = torch.zeros(4, head.in_channels, 14, 14)  # Two at two time steps.
    with torch.no_grad():
        head.conv_logits.neuron.register_forward_hook(lambda *args: seen.append(args[-1]))
        head(rois)
        assert not seen[0].any()
        readout = head.conv_logits.bias.clone()
        randomize_norms(head)
        head(rois)
    assert 0.05 < seen[1].mean() < 0.8
    assert torch.equal(head.conv_logits.bias, readout), 'what predicts stays'


STOCK = """
_base_ = ['{base}']
model = dict(
    backbone=dict(time_reduction='mean', time_steps=2),
    neck=dict(
        _delete_=True, type='FPN', in_channels=[32, 64, 128, 160], out_channels=16, num_outs=4
    ),
)
"""


def test_stock_heads_lie_behind_the_average(tmp_path, capsys):
    pytest.importorskip('mmseg', reason='a config of mmseg')
    (tmp_path / 'stock.py').write_text(STOCK.format(base=TINY))
    with pytest.raises(UserError) as refused:
        options = ['model.decode_head.in_channels=[16,16,16,16]']
        check_spike_driven([str(tmp_path / 'stock.py'), '--size', '64', '--cfg-options', *options])
    sentence = refused.value.sentence
    assert ' operations lie behind the average over time (time_reduction=' in sentence
    assert 'analog values: neck.lateral_convs.0.conv, neck.lateral_convs.1.conv' in sentence
    assert 'put a neuron' not in sentence and 'mmspike carry time to the end' in sentence
    assert 'mean of what it sees' in capsys.readouterr().out


def test_the_average_excuses_nothing_before_it(capsys):
    found = saw(('backbone.0', 'analog'), ('neck', 'analog'))
    with pytest.raises(UserError) as refused:
        check_operands(found, False, averaged=True)
    assert refused.value.sentence == (
        '1 of 3 operations see something other than spikes: backbone.0 (convolution: analog); put '
        'a neuron before each (docs/own_head.md).'
    )
    assert capsys.readouterr().out.startswith('1 of 3 operations lie behind the average over time')
    with pytest.raises(UserError, match='2 of 3 .*; put a neuron before each'):
        check_operands(found, False)


def test_layers_that_never_run_are_named():
    config, model = small('mask_rcnn_metaspike-tiny_t1_shapes')
    model.roi_head.test_cfg.score_thr = 2.0
    with pytest.raises(UserError, match='weight layers were never run.* roi_head.mask_head'):
        record_operands(model, config, LIBRARIES['mmdet'], 96)


@pytest.mark.parametrize('kind', ['mmspike.ILIF', 'mmspike.NILIF'])
def test_integer_neurons_are_told_to_unroll_and_then_pass(kind, capsys):
    argv = [str(TINY), '--size', '64', '--cfg-options', f'model.backbone.neuron.type={kind}']
    with pytest.raises(UserError, match=r'see integers, counts .* unroll them first \(--deploy'):
        check_spike_driven(argv)
    check_spike_driven([*argv, '--deploy', 'unroll'])
    assert 'spike-driven: all' in capsys.readouterr().out
