"""Every shipped spiking config is proven spike-driven, and a planted violation is found."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from narrow_models import narrow
from torch import nn

from mmspike.analysis.spike_driven import OperandRecorder, enliven
from mmspike.analysis.values import kind_of
from mmspike.apis.spike_driven import check_spike_driven, is_integer_driven, judge, look
from mmspike.errors import UserError

CONFIGS = Path(__file__).parents[2] / 'configs'
SPIKING = sorted(path.stem for path in CONFIGS.glob('*metaspike*.py'))
TINY = CONFIGS / 'semantic_fpn_metaspike-tiny_t1_shapes.py'
PROVEN = {}  # Models that were looked at, and by which config.


def small(name):
    """The config with a narrow backbone, neck and heads, and the model that it builds."""
    config = Config.fromfile(CONFIGS / f'{name}.py')
    pytest.importorskip(config.default_scope, reason='the library of this config')
    config.model = narrow(config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return config, enliven(MODELS.build(config.model).eval())


@pytest.mark.parametrize('name', SPIKING)
def test_every_shipped_config(name, capsys):
    config, model = small(name)
    twin = PROVEN.setdefault(str(config.model.to_dict()) + str(config.test_dataloader), name)
    if twin != name:
        return  # At this width the same model, which stands for another size or dataset.
    operands = look(model, config, config.default_scope, 96)
    judge(operands, is_integer_driven(config))
    assert sum(operand.is_first for operand in operands) == 1
    assert operands[0].kind in ('analog', 'integers')  # Events are counts.
    products = [o for o in operands if o.operation == 'matrix product']
    attends = max(model.backbone.out_indices) >= 3 and name.find('sdsa1') == name.find('sdsa2')
    assert bool(products) == attends
    declared = 'integer-driven' if '-sew_' in name else 'spike-driven: all'
    assert declared in capsys.readouterr().out
    kinds = [operand.kind for operand in operands[1:]]
    assert ('integers' in kinds) == ('-sew_' in name)
    # Only the mask head's last layer, behind one without a norm, may be silent.
    silent = [operand.name for operand in operands if operand.kind == 'silent']
    assert all(name.endswith('conv_logits') for name in silent)


def test_a_planted_violation_is_named(capsys):
    config, model = small(TINY.stem)
    model.decode_head.scale_heads[0][0].conv.neuron = nn.Identity()
    with pytest.raises(UserError) as refused:
        judge(look(model, config, 'mmseg', 96), False)
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
        judge(look(model, config, 'mmseg', 96), False)


def test_integers_are_a_violation_unless_declared():
    config, model = small('metaspike-31m-sew_t1_in1k')
    operands = look(model, config, 'mmpretrain', 96)
    judge(operands, True)
    with pytest.raises(UserError, match=r'channel_mixer.0 \(convolution: integers\)'):
        judge(operands, False)


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


def test_layers_that_never_run_are_named():
    config, model = small('mask_rcnn_metaspike-tiny_t1_shapes')
    model.roi_head.test_cfg.score_thr = 2.0
    with pytest.raises(UserError, match='weight layers were never run.* roi_head.mask_head'):
        look(model, config, 'mmdet', 96)
