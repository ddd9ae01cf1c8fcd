"""Operations counted by hand, whoever runs them; what is not known is named and refused."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel, ImgDataPreprocessor
from torch import nn

from mmspike.analysis.energy_meter import EnergyMeter
from mmspike.analysis.spike_driven import OperandRecorder, randomize_norms
from mmspike.analysis.spike_kinds import ANALOG, SPIKES
from mmspike.deploy import reparameterize
from mmspike.errors import UserError
from mmspike.layers import SpikeConv2d
from mmspike.models import MetaSpikeFormer, SpikeResNet
from mmspike.neurons import LIF, mean_over_time, set_time_steps

N, L, D = 2, 5, 8  # Samples, positions, channels.
NEURON = dict(type='mmspike.LIF', time_steps=1, v_threshold=0.3)


class Part(nn.Module):
    """A spiking stem, then an operation on its spikes, ``[N, L, D]``."""

    def __init__(self, operation):
        super().__init__()
        self.neuron, self.weight = LIF(time_steps=1), nn.Parameter(torch.randn(D, 6))
        self.operation = operation

    def forward(self, x):
        return self.operation(self.neuron(x), self.weight)


def counted(operation):
    torch.manual_seed(0)
    model, x = Part(operation).eval(), 4 * torch.rand(N, L, D)
    with torch.no_grad(), EnergyMeter(model) as meter, OperandRecorder(model) as recorder:
        model(x)
    operands = recorder.operands
    energy = meter.energy()
    assert energy.images == N
    return sum(float(cost.macs.sum()) for cost in energy.costs), {o.kind for o in operands}


class Recurrent(nn.LSTM):
    """Takes its own weights."""

    def forward(self, x, _):
        return super().forward(x)


HEADS = nn.MultiheadAttention(D, 2, batch_first=True)
KNOWN = {
    'addmm': (
        lambda x, w: torch.addmm(torch.zeros(6), x.flatten(0, 1), w),
        N * L * D * 6,
        {SPIKES},
    ),
    'baddbmm': (
        lambda x, _: torch.baddbmm(torch.zeros(L, L), x, x.mT),
        N * L * L * D,
        {SPIKES},
    ),
    'tensordot': (lambda x, w: torch.tensordot(x, w, dims=1), N * L * D * 6, {SPIKES}),
    'vector': (lambda x, w: torch.mv(x.flatten(0, 1), w[:, 0]), N * L * D, {SPIKES}),
    'transposed': (
        lambda x, w: F.conv_transpose1d(x.mT, w.unsqueeze(-1).repeat(1, 1, 3)),
        N * L * D * 6 * 3,
        {SPIKES},
    ),
    # A softmax lies between the products of spikes, which is why they count as analog.
    'attention': (
        lambda x, _: F.scaled_dot_product_attention(x, x, x),
        2 * N * L * L * D,
        {ANALOG},
    ),
    # Torch runs these as products of values, which are nobody's addition elsewhere.
    'outer': (lambda x, w: torch.outer(x.flatten(), w[0]), N * L * D * 6, {SPIKES}),
    'kronecker': (lambda x, w: torch.kron(x[0], w), L * D * D * 6, {SPIKES}),
    'dot': (lambda x, _: torch.linalg.vecdot(x, torch.randn(L, D)), N * L * D, {SPIKES}),
    'einsum': (lambda x, w: torch.einsum('nld,d->nld', x, w[:, 0]), N * L * D, {SPIKES}),
    # Three projections in, one out, and two products: of D channels each.
    'heads': (
        lambda x, _: HEADS(x, x, x, need_weights=False)[0],
        N * L * D * D * 4 + 2 * N * L * L * D,
        {SPIKES, ANALOG},
    ),
}


@pytest.mark.parametrize('name', KNOWN)
def test_products_by_hand(name):
    operation, macs, kinds = KNOWN[name]
    found, seen = counted(operation)
    assert found == macs
    assert seen == kinds


@pytest.mark.parametrize(
    ('operation', 'name'),
    [
        (lambda x, _: torch.fft.rfft(x).abs(), '_fft_r2c'),
        (lambda x, _: F.bilinear(x, x, torch.randn(3, D, D)), '_trilinear'),
        (lambda x, _: torch.linalg.svdvals(x), '_linalg_svd'),
        (lambda x, _: torch.cdist(x, x), '_euclidean_dist|_cdist_forward'),
        (Recurrent(D, 4, batch_first=True), r'\w*(rnn|lstm)\w* of operation'),
    ],
    ids=['fft', 'bilinear', 'singular values', 'distances', 'lstm'],
)
def test_what_multiplies_in_an_unknown_way_is_named(operation, name):
    with pytest.raises(UserError, match=rf'^({name}).*: how this multiplies is not known'):
        counted(operation)


def test_known_modules_of_torch_that_multiply_are_no_surprise():
    def harmless(x, _):
        x = F.layer_norm(torch.cat([x, x.flip(-1)], -1), (2 * D,))
        x = F.prelu(x, torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]))
        return F.interpolate(x, 7).softmax(-1)[torch.tensor([0]), :, torch.arange(3)]

    assert counted(harmless) == (0, set())


class Windows(BaseModel):
    """Runs its backbone on each quarter of its images."""

    def __init__(self):
        super().__init__(ImgDataPreprocessor())
        self.backbone = MetaSpikeFormer(dict(dims=(4,) * 5, depths=(1,) * 5, heads=2), time_steps=1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return [self.backbone(x) for half in inputs.chunk(2, -1) for x in half.chunk(2, -2)]


def test_an_image_in_windows_is_one_image():
    torch.manual_seed(0)
    model = reparameterize(randomize_norms(Windows()).eval(), 'spike')
    x = torch.rand(3, 3, 128, 128)
    first = 7 * 7 * 3 * 4 * 64 * 64  # Of the encoder, at half of 128.
    with torch.no_grad(), EnergyMeter(model) as meter:
        model.test_step(dict(inputs=list(x)))
        model(x[:2])  # Without a data preprocessor.
    found = meter.energy()
    assert found.images == 5
    assert float(found.costs[0].macs.sum()) == 5 * first


class Rois(nn.Module):
    """A backbone of T time steps, and behind their average a head on some of the positions."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), SpikeConv2d(4, 4, 3, padding=1, neuron=NEURON)
        )
        self.head = nn.Linear(4, 6)

    def forward(self, x, rois=8):
        x = mean_over_time(self.backbone(torch.cat([x, x])), 2)
        return self.head(x.flatten(2).mT.flatten(0, 1)[:rois])


@pytest.mark.parametrize('rois', [2, 8, 7])
def test_what_stands_behind_the_average_runs_once(rois):
    """However many RoIs there are: also as many as images, or a multiple of T times them."""
    torch.manual_seed(0)
    model = set_time_steps(Rois(), 2).eval()
    with torch.no_grad(), EnergyMeter(model) as meter:
        model(torch.rand(2, 3, 8, 8), rois)
    (head,) = [cost for cost in meter.energy().costs if cost.layer.name == 'head']
    assert head.macs.tolist() == [rois * 4 * 6]
    assert head.twin == rois * 4 * 6


NILIF = dict(type='mmspike.NILIF', levels=4)
TINY = dict(dims=(4,) * 5, depths=(1,) * 5, heads=2)
MODELS = {
    'counts by D': lambda: SpikeResNet(18, time_steps=1, base_channels=8, neuron=NILIF),
    'convolutions apart': lambda: MetaSpikeFormer(TINY, time_steps=1),
}


@pytest.mark.parametrize('make', MODELS.values(), ids=MODELS)
@pytest.mark.parametrize('form', [None, 'fast'])
def test_forms_that_no_chip_runs_are_refused(make, form):
    model = make().eval()
    with pytest.raises(UserError, match=r'not merged .*reparameterize'):
        EnergyMeter(model if form is None else reparameterize(model, form))
    EnergyMeter(reparameterize(model, 'spike'))


def test_an_unmerged_lif_resnet_is_what_a_chip_runs():
    torch.manual_seed(0)
    model = randomize_norms(SpikeResNet(18, time_steps=2, base_channels=8)).double().eval()
    x, totals = torch.rand(1, 3, 64, 64).double(), []
    for one in (model, reparameterize(model, 'spike')):
        with torch.no_grad(), EnergyMeter(one) as meter:
            one(x)
        totals.append(meter.energy().total())
    assert totals[0] == totals[1] > 0


@pytest.mark.parametrize(
    'conv',
    [
        SpikeConv2d(4, 6, 3, padding=2, stride=2, dilation=2, groups=2, neuron=NEURON),
        SpikeConv2d(4, 6, 3, padding='same', neuron=NEURON),
        SpikeConv2d(4, 6, 3, padding=1, padding_mode='reflect', neuron=NEURON),
        nn.Sequential(LIF(time_steps=1), nn.ConvTranspose2d(4, 6, 3, padding=1, stride=2)),
    ],
    ids=['grouped', 'same', 'reflect', 'transposed'],
)
def test_the_column_without_padding(conv):
    """Each weight once for each spike that it meets: what a convolution of ones sums up."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 4, 1), conv).eval(), torch.rand(2, 3, 7, 5)
    with torch.no_grad(), EnergyMeter(model) as meter:
        model(x)
        layer = conv if isinstance(conv, nn.Conv2d) else conv[1]
        spikes = (conv.neuron if layer is conv else conv[0])(model[0](x))
        layer.weight.fill_(1)
        met = layer._conv_forward if isinstance(layer, nn.Conv2d) else None
        bias, layer.bias = layer.bias, None
        sums = met(spikes, layer.weight, None) if met else layer(spikes)
        layer.bias = bias
    cost = meter.energy().costs[-1]
    assert float(cost.unpadded[0]) == float(sums.double().sum())
    energy = meter.energy()
    assert energy.millijoule_unpadded(cost) == pytest.approx(float(sums.sum()) * 0.9e-9 / 2)
    assert energy.total_unpadded() > 0
