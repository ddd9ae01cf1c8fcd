"""Stock heads made spiking: the page in docs/ as it stands, and what `make_spiking` refuses."""

import re
from pathlib import Path

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from spikes import may_see_real_values, see_real_values
from torch import nn

import mmspike.registry as ours
from mmspike.analysis.spike_driven import randomize_norms
from mmspike.errors import UserError
from mmspike.layers import (
    SDSA3,
    RepConv,
    SepConv,
    SpikeConv2d,
    SpikeLinear,
    SpikeReadoutConv2d,
    SpikeReadoutLinear,
    find_bare,
    make_spiking,
)
from mmspike.neurons import set_time_steps

PAGE = (Path(__file__).parents[2] / 'docs/own_head.md').read_text()
T, B, SIZE = 2, 2, 64


@pytest.fixture
def atss():
    """The model of docs/own_head.md in mmdet's own config of ATSS."""
    mmdet = pytest.importorskip('mmdet', reason='ATSS is a model of mmdet')
    code, _ = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
    exec(code, {'__name__': 'own_head'})
    stock = Path(mmdet.__file__).parent / '.mim/configs/atss/atss_r50_fpn_1x_coco.py'
    model = Config.fromfile(stock).model
    model.type = 'mmspike.SpikeATSS'
    model.backbone = dict(
        type='mmspike.MetaSpikeFormer',
        arch=dict(dims=(8, 8, 8, 16, 16), depths=(1,) * 5, heads=2),
        time_steps=T,
        out_indices=(2, 3, 4),
        out_strides=(8, 16, 32),
    )
    model.neck.update(
        type='mmspike.SpikeFPN', in_channels=[8, 16, 16], out_channels=16, start_level=0
    )
    model.bbox_head.update(
        type='mmspike.SpikeATSSHead',
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        norm_cfg=dict(type='BN'),
    )
    try:
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = MODELS.build(model)
        model.init_weights()
        yield randomize_norms(model)
    finally:
        for name in ('SpikeATSS', 'SpikeATSSHead'):
            ours.MODELS.module_dict.pop(name)


def test_the_head_of_the_page_spikes_learns_and_averages(atss):
    x = torch.randn(B, 3, SIZE, SIZE)
    real = see_real_values(atss.eval(), lambda: atss(x))
    assert real == may_see_real_values(atss)
    scores, boxes, centerness = atss.train()(x)
    assert {out.shape[0] for out in (*scores, *boxes, *centerness)} == {B}
    sum(out.square().sum() for out in (*scores, *boxes, *centerness)).backward()
    silent = [n for n, p in atss.named_parameters() if p.grad is None]
    assert silent == []
    # The stock initialization finds the layers: focal loss starts from rare objects.
    assert atss.bbox_head.atss_cls.bias[0].item() == pytest.approx(-4.595, abs=0.01)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = ConvModule(2, 3, 3, stride=2, bias=True)
        self.shared = nn.ModuleList([self.first])
        self.act = nn.ReLU()
        self.up = nn.ConvTranspose2d(3, 3, 2, stride=2, output_padding=1, bias=False)
        self.last = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.last(self.act(self.up(self.first(x))))


def test_weights_names_and_geometry_are_kept():
    head = Head()
    before = {k: v.clone() for k, v in head.state_dict().items()}
    set_time_steps(make_spiking(head, ['last']), T)
    after = head.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert head.shared[0] is head.first
    assert isinstance(head.first.conv, SpikeConv2d)
    assert isinstance(head.last, SpikeReadoutConv2d)
    assert not head.first.with_activation
    assert isinstance(head.act, nn.Identity)
    assert head(torch.randn(T * B, 2, 9, 9)).shape == (B, 4, 9, 9)


def test_a_layer_shared_by_two_parents_stays_one():
    one, two = nn.Sequential(nn.Conv2d(1, 1, 1)), nn.Sequential()
    two.add_module('0', one[0])
    make_spiking(nn.ModuleList([one, two]))
    assert one[0] is two[0]
    assert isinstance(one[0], SpikeConv2d)


@pytest.mark.parametrize('layer', [SpikeReadoutConv2d(1, 1, 1), SpikeReadoutLinear(1, 1)])
def test_a_readout_averages_over_time_and_not_over_the_batch(layer):
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    set_time_steps(layer, T)
    # Time-major: sample 0 fires at the first step, sample 1 at both (a charge of 2 and more).
    x = torch.tensor([4.0, 4.0, 0.0, 4.0]).reshape(T * B, *[1] * (layer.weight.dim() - 1))
    assert layer(x).flatten().tolist() == [0.5, 1.0]


class Declaring(nn.Module):
    """A part that says which of its layers have no neuron."""

    bare = ('stem', 'late')

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.late = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.later = nn.Conv2d(4, 4, 1)
        self.norm = nn.LayerNorm([4, 2, 2])
        self.operators = nn.ModuleList([RepConv(4), SepConv(4), SDSA3(8)])


def test_what_is_bare_and_what_is_meant_to_be():
    head = nn.ModuleDict({'part': Declaring(), 'linear': nn.Linear(2, 2)})
    assert list(find_bare(head)) == ['part.later', 'linear']
    make_spiking(head)
    assert find_bare(head) == {}
    part = head['part']
    assert isinstance(part.later, SpikeConv2d)
    assert type(part.stem) is type(part.late[0]) is nn.Conv2d
    assert type(part.late[1]) is nn.ReLU
    assert type(part.operators[0].depthwise) is nn.Conv2d


class Levels(nn.Module):
    """A head with a list of towers, of predictors and of branches that end in one."""

    def __init__(self):
        super().__init__()
        self.towers = nn.ModuleList(
            ConvModule(2, 2, 3, padding=1, norm_cfg=dict(type='BN')) for _ in range(2)
        )
        self.predictors = nn.ModuleList(nn.Conv2d(2, 3, 1) for _ in range(2))
        self.branches = nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3))])


def test_a_readout_names_all_that_a_list_holds():
    head = set_time_steps(make_spiking(Levels(), ['predictors', 'branches.0.2']), T)
    assert {type(layer) for layer in head.predictors} == {SpikeReadoutConv2d}
    assert type(head.branches[0][2]) is SpikeReadoutLinear
    assert type(head.branches[0][0]) is SpikeLinear
    assert type(head.towers[0].conv) is SpikeConv2d
    x = torch.randn(T * B, 2, 4, 4)
    assert [layer(x).shape[0] for layer in head.predictors] == [B, B]


class Bare(nn.Module):
    """Layers without a norm, one with, and a predictor."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.module = ConvModule(4, 4, 3, groups=2, padding=1)
        self.with_norm = ConvModule(4, 4, 1, norm_cfg=dict(type='BN'))
        self.left = nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        return self.last(self.left(self.with_norm(self.module(self.conv(x)))))


def test_norms_stand_behind_all_that_has_none_and_does_not_predict():
    head = Bare()
    weights = {name: p for name, p in head.named_parameters() if name.endswith('weight')}
    names = set(head.state_dict())
    make_spiking(head, ['last'], dict(type='BN'), without_norm=['left'])
    after = head.state_dict()
    own = 'weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'
    norms = {f'{name}.bn.{key}' for name in ('conv', 'module') for key in own}
    names -= {'conv.weight', 'conv.bias', 'module.conv.bias'}
    assert set(after) == names | norms | {'conv.conv.weight'}
    assert head.conv.conv.weight is weights['conv.weight']
    assert head.module.conv.weight is weights['module.conv.weight']
    assert (head.conv.conv.stride, head.module.conv.groups) == ((2, 2), 2)
    assert set_time_steps(head, T)(torch.randn(T * B, 2, 8, 8)).shape == (B, 3, 4, 4)


def test_a_norm_behind_linear_layers():
    head = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
    make_spiking(head, ['2'], dict(type='BN1d'))
    assert isinstance(head[0].norm, nn.BatchNorm1d)
    assert head[2].norm is None
    assert set_time_steps(head, T)(torch.randn(T * B, 2)).shape == (B, 3)


@pytest.mark.parametrize(
    ('head', 'readouts', 'message'),
    [
        (Head(), ['lost'], "no convolution or linear layer named 'lost'"),
        (Head(), ['act'], "named 'act'"),
        (Head(), ['first.conv'], "'first.conv' .* matches first.conv, .* has an activation"),
        (Levels(), ['towers'], r"'towers' .* matches towers.0.conv, .* does not predict.* a norm"),
        (Levels(), ['branches'], r"'branches' .* matches branches.0.1, a ReLU, but only conv"),
        (Levels(), ['predict'], 'nor a part of that name'),
        (nn.Sequential(nn.Embedding(3, 4)), [], 'Embedding at 0, of which mmspike has no spiking'),
    ],
)
def test_what_cannot_spike_is_refused(head, readouts, message):
    with pytest.raises(UserError, match=message):
        make_spiking(head, readouts)
