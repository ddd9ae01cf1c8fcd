"""Stock backbones that spike: the page docs/own_backbone.md, and `mmspike.Neuron` as act_cfg."""

import re
import sys
from pathlib import Path

import pytest
import torch
from mmcv.cnn import ConvModule, build_activation_layer
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmspike.analysis import FiringRateRecorder
from mmspike.analysis.energy_meter import E_AC, E_MAC, EnergyMeter
from mmspike.analysis.spike_driven import OperandRecorder, randomize_norms
from mmspike.deploy import reparameterize
from mmspike.errors import UserError
from mmspike.layers import make_spiking
from mmspike.models import SpikingBackbone
from mmspike.neurons import (
    LIF,
    NILIF,
    SpikingNeuron,
    default_neuron,
    name_neurons,
    set_time_steps,
)

ROOT = Path(__file__).parents[2]
PAGE = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/own_backbone.md').read_text(), re.DOTALL)
PRE, IMPORT, POST = PAGE
NEURON = dict(type='mmspike.Neuron')
T, B = 2, 2


@pytest.fixture(scope='module')
def own(tmp_path_factory):
    """The page's classes, in a module of its name."""
    pytest.importorskip('mmdet', reason='its CSPDarknet')
    folder = tmp_path_factory.mktemp('own')
    (folder / 'spike_cspdarknet.py').write_text(PRE + POST)
    sys.path.insert(0, str(folder))
    import spike_cspdarknet

    yield spike_cspdarknet
    sys.path.remove(str(folder))
    for name in ('SpikeCSPDarknet', 'PostSpikeCSPDarknet'):
        spike_cspdarknet.MODELS._module_dict.pop(name)
    del sys.modules['spike_cspdarknet']


@pytest.fixture
def images():
    return torch.randn(B, 3, 64, 96)


# --- The activation -------------------------------------------------------------------------------


def test_mmcv_builds_the_model_s_neuron_and_its_twin():
    with default_neuron(dict(type='mmspike.NILIF', levels=8)):
        assert build_activation_layer(dict(NEURON)).levels == 8
        assert build_activation_layer(dict(NEURON, levels=2)).levels == 2
        conv = ConvModule(3, 4, 1, act_cfg=NEURON)  # It adds inplace=True.
    assert isinstance(conv.activate, NILIF)
    with default_neuron(dict(type='ReLU')):
        assert isinstance(ConvModule(3, 4, 1, act_cfg=NEURON).activate, nn.ReLU)
        assert isinstance(build_activation_layer(dict(NEURON, v_threshold=0.5)), nn.ReLU)
    assert isinstance(ConvModule(3, 4, 1, act_cfg=NEURON).activate, LIF)
    assert name_neurons(conv) == 'NILIF with 8 levels'


def test_an_option_that_the_neuron_does_not_have_is_refused():
    with pytest.raises(UserError, match='NILIF takes no tau'), default_neuron(dict(type=NILIF)):
        build_activation_layer(dict(NEURON, tau=3.0))


# --- Stock backbones, their neurons behind the weights --------------------------------------------


def mobilenet(**options):
    """mmseg's MobileNetV2, all stages narrow."""
    stock = pytest.importorskip('mmseg.models', reason='its MobileNetV2').MobileNetV2

    class PostSpikeMobileNetV2(SpikingBackbone, stock):
        def build_stages(self, in_channels, norm_cfg):
            stages = [getattr(self, name)[-1] for name in self.layers]
            self.stage_channels = tuple(stage.conv[-1].out_channels for stage in stages)
            self.stage_strides = (2, 4, 8, 16, 16, 32, 32)
            first, *others = self.layers
            self.stage_parts = (('conv1', first), *((name,) for name in others))

        def encode(self, x):
            return x

        def run_stage(self, index, x):
            x = x if index else self.conv1(x)
            return getattr(self, self.layers[index])(x)

    return stock, PostSpikeMobileNetV2


def darknet(own):
    from mmdet.models import CSPDarknet

    return CSPDarknet, own.PostSpikeCSPDarknet


SMALL = {
    'mmdet': dict(widen_factor=0.125, deepen_factor=0.33),
    'mmseg': dict(widen_factor=0.25, out_indices=(0, 1, 2, 3, 4, 5, 6)),
}


@pytest.fixture(params=SMALL)
def library(request):
    return request.param


@pytest.fixture
def classes(library, request):
    """A stock class, its spiking child and what makes both small."""
    made = darknet(request.getfixturevalue('own')) if library == 'mmdet' else mobilenet()
    return *made, SMALL[library]


@pytest.fixture
def spiking(classes):
    _, spiking, small = classes
    torch.manual_seed(0)
    neuron = dict(type='mmspike.LIF', v_threshold=0.5)
    model = spiking(time_steps=T, neuron=neuron, act_cfg=NEURON, **small)
    return randomize_norms(model).eval()


def test_every_neuron_sees_the_sequence(spiking, images):
    neurons = {n: m for n, m in spiking.named_modules() if isinstance(m, SpikingNeuron)}
    seen = {}
    for name, neuron in neurons.items():
        assert name.endswith('activate') and neuron.time_steps == T and neuron.v_threshold == 0.5
        neuron.register_forward_hook(lambda _, inputs, out, name=name: seen.update({name: out}))
    outs = spiking(images)
    assert len(neurons) > 20 and seen.keys() == neurons.keys()
    assert {len(out) for out in [*seen.values(), *outs]} == {T * B}
    assert all(set(out.unique().tolist()) <= {0, 1} for out in seen.values())
    # A membrane carries over: the second step is another one.
    assert any(not torch.equal(*out.unflatten(0, (T, B))) for out in seen.values())
    moving = images.unsqueeze(1).repeat(1, T, 1, 1, 1)
    set_time_steps(spiking, T + 1)
    assert {neuron.time_steps for neuron in neurons.values()} == {spiking.time_steps} == {T + 1}
    set_time_steps(spiking, T)
    for still, same in zip(outs, spiking(moving), strict=True):
        torch.testing.assert_close(still, same)


def test_the_twin_is_the_stock_network(classes, spiking, images):
    stock, cls, small = classes
    relu = dict(neuron=dict(type='ReLU'), act_cfg=NEURON)
    twin = cls(time_steps=T, time_reduction='mean', **relu, **small)
    expected = stock(act_cfg=dict(type='ReLU'), **small)
    for model in (twin, expected):
        model.load_state_dict(spiking.state_dict())
        model.train(False)  # A stock backbone's returns nothing.
        model.double()
    images = images.double()
    outs = expected(images)
    own = dict(zip(twin.out_indices, twin(images), strict=True))
    for index, same in zip(expected.out_indices, outs, strict=True):
        torch.testing.assert_close(own[index], same)


def test_energy_and_proof(library, spiking, images):
    spiking, images = spiking.double(), images.double()
    merged = reparameterize(spiking)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in merged.modules())
    with torch.no_grad():
        for own, same in zip(merged(images), spiking(images), strict=True):
            torch.testing.assert_close(own, same, rtol=1e-9, atol=1e-9)
    seen, macs = {}, {}

    def look(name):
        def hook(conv, inputs, out):
            seen[name] = inputs[0].unflatten(0, (T, B))
            macs[name] = out[0].numel() // conv.out_channels * conv.weight.numel()

        return hook

    for name, module in merged.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(look(name))
    with torch.no_grad(), EnergyMeter(merged) as meter:
        merged(images)
    with torch.no_grad(), OperandRecorder(merged) as recorder:
        merged(images)
    assert recorder.not_run == []
    kinds = {operand.name: operand.verdict for operand in recorder.operands}
    first, *rest = kinds
    assert kinds.pop(first) == 'image'
    sums = {name for name, kind in kinds.items() if kind != 'spikes'}
    if library == 'mmdet':  # Shortcuts add spikes.
        assert {kinds[name] for name in sums} == {'integers'}
        assert sums and all('blocks' in name or 'final_conv' in name for name in sums)
    else:  # The narrow ends of blocks have no activation: what widens them sees potentials.
        assert {kinds[name] for name in sums} == {'analog'}
        assert all(name.endswith('.conv.0.conv') for name in sums) and len(sums) == 16
    picojoule = 0
    for name, x in seen.items():
        analog = name == first or kinds[name] == 'analog'
        for step in x:
            picojoule += macs[name] * B * (E_MAC if analog else E_AC * float(step.mean()))
    assert meter.energy().total() == pytest.approx(picojoule * 1e-9 / B, rel=1e-6)


def test_its_firing_rates_are_recorded(spiking, images):
    with torch.no_grad(), FiringRateRecorder(spiking) as recorder:
        spiking(images)
    assert recorder.not_run == []
    assert all(len(rates) == T for rates in recorder.rates.values())


def test_counts_cannot_be_unrolled(classes):
    _, cls, small = classes
    model = cls(neuron=dict(type='mmspike.ILIF'), act_cfg=NEURON, **small).eval()
    with pytest.raises(UserError, match=r'activate is a ILIF .*mmspike.Neuron as act_cfg'):
        reparameterize(model, 'unroll')


def test_training_reaches_every_weight(spiking, images):
    sum(out.square().mean() for out in spiking.train()(images)).backward()
    assert all(p.grad is not None for p in spiking.parameters())


def test_single_spikes_do_not_fire_a_neuron_that_halves_its_input():
    """As the page says of a neck behind such a backbone."""
    spikes = torch.ones(8, 1)
    assert not LIF(time_steps=8)(spikes).any()
    assert LIF(time_steps=8, v_threshold=0.5)(spikes).all()


# --- The page -------------------------------------------------------------------------------------


def test_the_page_s_detector_sees_spikes(own, images):
    """Its model in our config of YOLOX, with the neurons before the weights."""
    config = Config.fromfile(ROOT / 'configs/yolox_metaspike_t1_coco.py')
    names = {}
    exec(IMPORT, names)
    config.merge_from_dict(
        dict(model=dict(names['model'], backbone=dict(names['model']['backbone'], time_steps=T)))
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = randomize_norms(MODELS.build(config.model).eval())
    assert model.backbone.out_strides == (8, 16, 32)
    merged = reparameterize(model)
    with torch.no_grad(), OperandRecorder(merged) as recorder:
        outs = merged(images)
    assert {len(level) for kind in outs for level in kind} == {B}
    first, *rest = recorder.operands
    assert first.name == 'backbone.stem.conv.conv' and first.verdict == 'image'
    assert {operand.verdict for operand in rest} == {'spikes'} and recorder.not_run == []


def test_the_stock_initialization_stays(own):
    """CSPDarknet has one of its own, which it takes where none is given."""
    from mmdet.models import CSPDarknet

    model, stock = own.SpikeCSPDarknet(**SMALL['mmdet']), CSPDarknet(**SMALL['mmdet'])
    assert model.init_cfg == stock.init_cfg
    assert model.state_dict().keys() == stock.state_dict().keys()
    other = dict(type='Normal', layer='Conv2d', std=0.1)
    assert own.SpikeCSPDarknet(init_cfg=other, **SMALL['mmdet']).init_cfg == other


def test_arguments_that_the_stock_class_hands_on_reach_it():
    """ResNeXt takes `in_channels` and `norm_cfg` as `**kwargs` alone."""
    resnext = pytest.importorskip('mmdet.models', reason='its ResNeXt').ResNeXt

    class SpikeResNeXt(SpikingBackbone, resnext):
        def build_stages(self, in_channels, norm_cfg):
            make_spiking(self, analog=('conv1',))
            self.stage_channels, self.stage_strides = (32, 64, 128, 256), (4, 8, 16, 32)
            self.stage_parts = (('conv1', 'bn1', 'layer1'), ('layer2',), ('layer3',), ('layer4',))

    norm_cfg = dict(type='BN', eps=0.25)
    model = SpikeResNeXt(depth=50, base_channels=8, groups=2, in_channels=5, norm_cfg=norm_cfg)
    assert model.conv1.in_channels == 5
    norms = {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    assert norms == {0.25}


def test_a_backbone_without_neurons_is_refused(own):
    with pytest.raises(UserError, match=r"PostSpikeCSPDarknet has no LIF, .*'mmspike.Neuron'"):
        own.PostSpikeCSPDarknet(act_cfg=dict(type='Swish'), **SMALL['mmdet'])


def test_layers_that_cannot_spike_are_refused():
    pvt = pytest.importorskip('mmdet.models', reason='its PVT').PyramidVisionTransformer

    class SpikePVT(SpikingBackbone, pvt):
        def build_stages(self, in_channels, norm_cfg):
            make_spiking(self)

    with pytest.raises(
        UserError, match=r'SpikePVT has a \w+Linear at layers\S+attn.out_proj, of w'
    ):
        SpikePVT(embed_dims=8, num_layers=(1, 1, 1, 1))
