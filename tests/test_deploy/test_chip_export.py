"""What is written for chips: a reader that has nothing else recomputes every spike."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from narrow_models import narrow
from torch import nn

from mmspike import neurons
from mmspike.analysis.spike_driven import randomize_norms
from mmspike.deploy import reparameterize
from mmspike.deploy.chip import export_chip
from mmspike.deploy.chip.export_chip import READER
from mmspike.deploy.chip.neuron_constants import constants, describe_neuron
from mmspike.errors import UserError
from mmspike.layers import SDSA1, SepConv, SpikeConv2d, SpikeReadoutConv2d, SpikeReadoutLinear
from mmspike.neurons import ILIF, SpikingNeuron, default_neuron, set_time_steps

CONFIGS = Path(__file__).parents[2] / 'configs'
LIF, NILIF = dict(type='mmspike.LIF'), dict(type='mmspike.NILIF', levels=4)
SEMANTIC, YOLOX = 'semantic_fpn_metaspike_ade20k', 'yolox_metaspike_t1_coco'
MODEL_OF = {
    'semantic_fpn of LIF': (SEMANTIC, LIF),
    'espikeformer': ('semantic_fpn_espikeformer-10m_t1_ade20k', NILIF),
    'spikeresnet': ('semantic_fpn_spikeresnet18_t1_ade20k', LIF),
    'yolox': (YOLOX, dict(type='mmspike.NILIF', levels=8, v_threshold=0.3)),
    'mask_rcnn': ('mask_rcnn_metaspike_coco', LIF),
}

ODD = {
    'NILIF': NILIF,
    'PLIF': dict(type='mmspike.PLIF', tau=2.3),
    'a rest that is not 0': dict(LIF, v_reset=-0.3),
    'a soft reset': dict(LIF, v_reset=None, decay_input=False),
}


def narrow_model(name, neuron, time_steps=2):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    library = config.default_scope
    pytest.importorskip(library, reason='the library of this config')
    config.model.backbone.update(time_steps=time_steps, neuron=neuron, pretrained=None)
    if 'resnet' in name:
        config.model.backbone.base_channels = 8
        config.model.neck.in_channels = [8, 16, 32, 64]
        model = config.model
    else:
        model = narrow(config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(library):
        return randomize_norms(MODELS.build(model)).eval()


def read(folder):
    """Run the reader as somebody does who has the folder and numpy alone."""
    alone = [sys.executable, '-I', 'reader.py']
    return subprocess.run(alone, cwd=folder, capture_output=True, text=True)


def exported(model, folder, count=2, size=(64, 64)):
    folder.mkdir()
    torch.manual_seed(1)
    lines = export_chip(model, torch.randn(count, 3, *size), folder)
    return lines, json.loads((folder / 'graph.json').read_text())


def listen(model):
    """What each neuron fires, by their names, once the model has run."""
    counts = {}
    for name, part in model.named_modules():
        if isinstance(part, SpikingNeuron):
            part.register_forward_hook(lambda _, __, out, name=name: counts.update({name: out}))
    return counts


@pytest.fixture(scope='module')
def semantic(tmp_path_factory):
    """A folder of two pictures at T = 2."""
    folder = tmp_path_factory.mktemp('chip') / 'semantic'
    exported(narrow_model(*MODEL_OF['semantic_fpn of LIF']), folder)
    return folder


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', MODEL_OF)
def test_the_reader_finds_equal_spikes(kind, tmp_path):
    model = narrow_model(*MODEL_OF[kind])
    lines, graph = exported(model, tmp_path / 'out', count=1)
    done = read(tmp_path / 'out')
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'All spikes are equal' in done.stdout
    spikes = [int(n) for n in re.findall(r': (\d+) spikes, outputs off by 0\n', done.stdout)]
    assert len(spikes) == 2, done.stdout  # fp32 and int8, whose sums are exact both.
    assert min(spikes) > 1000
    neurons = [node for node in graph['nodes'] if node['op'] == 'neuron']
    assert all(node['potential_bits'] is not None for node in neurons)
    assert lines[0].startswith(f'{sum("layer" in n for n in graph["nodes"])} weight layers')
    if kind == 'mask_rcnn':
        assert any('RoI heads are left out' in line for line in lines)
        assert not any('roi_head' in node['name'] for node in graph['nodes'])


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', ['espikeformer', 'semantic_fpn of LIF'])
def test_what_is_recorded_is_what_the_forms_fire(kind, tmp_path):
    """The forms themselves run, without any graph, and their neurons are listened to."""
    model = narrow_model(*MODEL_OF[kind])
    _, graph = exported(model, tmp_path / 'out', count=2)
    torch.manual_seed(1)
    pictures = torch.randn(2, 3, 64, 64).double()
    nodes = [node for node in graph['nodes'] if node['op'] == 'neuron']
    for form, weights in (('spike', 'fp32'), ('int8', 'int8')):
        merged = reparameterize(model, form).double()
        counts = listen(merged)
        for number, picture in enumerate(pictures):
            with torch.no_grad():
                out = merged(picture[None], mode='tensor')
            files = np.load(tmp_path / 'out' / f'spikes_{weights}_{number}.npz')
            assert np.array_equal(files[f'{graph["outputs"][0]}.told'], out.numpy())
            assert len(nodes) == len(counts)
            for node in nodes:
                size = np.prod(node['shape']) * node['levels']
                bits = np.unpackbits(files[f'{node["name"]}.spikes'], count=size)
                bits = bits.reshape(node['time_steps'], node['levels'], -1)
                assert (np.diff(bits.astype(int), axis=1) <= 0).all(), 'the first sub-steps fire'
                fired = counts[node['name']].reshape(node['time_steps'], -1).numpy()
                assert np.array_equal(bits.sum(1), fired), node['name']


def test_the_integers_are_in_the_files(semantic):
    graph = json.loads((semantic / 'graph.json').read_text())
    whole, real = (np.load(semantic / f'weights_{form}.npz') for form in ('int8', 'fp32'))
    bits = graph['bits']['int8']
    for node in graph['nodes']:
        if node['op'] == 'neuron':
            thresholds = whole[f'{node["name"]}.thresholds']
            assert thresholds.dtype == np.int64 and thresholds.shape == (node['levels'],)
            assert node['time_steps'] == 2
        if 'layer' in node:
            weight, scale = whole[f'{node["layer"]}.weight'], whole[f'{node["layer"]}.scale']
            assert weight.dtype == np.int8 and scale.dtype == np.int32
            held = weight * (scale * 2.0 ** -bits[f'{node["layer"]}.scale'])
            assert (
                np.abs(held - real[f'{node["layer"]}.weight']).max()
                <= 0.51 * (scale * 2.0 ** -bits[f'{node["layer"]}.scale']).max()
            )
            assert np.issubdtype(whole[f'{node["layer"]}.bias'].dtype, np.integer)
    spikes = np.load(semantic / 'spikes_int8_1.npz')
    assert spikes['picture.values'].dtype == np.int32


@pytest.mark.parametrize('broken', ['a spike', 'a weight', 'a threshold'])
def test_the_reader_finds_what_is_broken(broken, semantic, tmp_path):
    folder = shutil.copytree(semantic, tmp_path / 'out')
    graph = json.loads((folder / 'graph.json').read_text())
    neuron = [node['name'] for node in graph['nodes'] if node['op'] == 'neuron'][7]
    name, key = {
        'a spike': ('spikes_fp32_1', f'{neuron}.spikes'),
        'a weight': ('weights_int8', 'backbone.downsamplings.1.weight'),
        'a threshold': ('weights_int8', f'{neuron}.thresholds'),
    }[broken]
    arrays = dict(np.load(folder / f'{name}.npz'))
    if broken == 'a spike':
        arrays[key].reshape(-1)[3] ^= 16
    elif broken == 'a weight':
        arrays[key] = -arrays[key]
    else:
        arrays[key] = arrays[key] * 5 // 4
    np.savez(folder / f'{name}.npz', **arrays)
    done = read(folder)
    assert done.returncode == 1
    assert 'Spikes differ' in done.stderr
    if broken == 'a spike':
        # Layers behind it are told of too: they go on from what is recorded.
        assert done.stderr.startswith(f'Spikes differ: {neuron} in spikes_fp32_1.npz')
        assert 'int8' not in done.stderr and 'fp32_0' not in done.stderr


def test_the_reader_has_50_lines_of_plain_numpy():
    text = READER.read_text()
    assert len(text.splitlines()) <= 50
    assert set(re.findall(r'^import (\w+)', text, re.MULTILINE)) == {'json', 'numpy'}


@pytest.mark.parametrize(
    'neuron', [ILIF(1, levels=4, v_threshold=0.5), neurons.LIF(1, v_threshold=0.5)]
)
def test_integer_thresholds_are_those_of_the_neuron(neuron):
    """At every potential from below rest to above the last spike, ties included."""
    bits = describe_neuron(neuron, 4)['potential_bits']
    unit = 2.0**-bits
    thresholds = constants(neuron, bits)['thresholds']
    potentials = torch.arange(-8, 100)
    inputs = potentials * unit * (1 if isinstance(neuron, ILIF) else neuron.tau)
    fired = neuron(inputs[None].double())[0]
    assert fired.max() == neuron.levels
    assert np.array_equal((potentials.numpy()[:, None] >= thresholds).sum(1), fired)


class Layers(nn.Module):
    """Convolutions that no shipped network has, and a readout of a vector."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, dilation=2, bias=False)
        self.grouped = SpikeConv2d(4, 6, (3, 1), stride=(2, 1), padding=(1, 0), groups=2)
        self.mixer, self.gate = SepConv(6), SDSA1(6, 2)
        self.conv, self.fc = SpikeReadoutConv2d(6, 2, 1), SpikeReadoutLinear(6, 3)

    def forward(self, x):
        x = torch.cat([self.stem(x)] * 3)
        x = self.grouped(x)
        x = x + self.gate(x + self.mixer(x))
        x = nn.functional.interpolate(x, size=(7, 9), mode='bilinear', align_corners=True)
        x = nn.functional.max_pool2d(x, 3, stride=2, padding=1)
        return self.conv(x), self.fc(x.mean((2, 3)))


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('neuron', list(ODD.values()), ids=list(ODD))
def test_odd_layers(neuron, tmp_path):
    with default_neuron(neuron):
        torch.manual_seed(0)
        model = randomize_norms(set_time_steps(Layers(), 3)).eval()
    lines, graph = exported(model, tmp_path / 'out', size=(21, 34))
    done = read(tmp_path / 'out')
    assert done.returncode == 0, done.stdout + done.stderr
    assert {'linear', 'sum', 'multiply', 'resize', 'max_pool', 'concat'} <= {
        node['op'] for node in graph['nodes']
    }
    offs = [float(off) for off in re.findall(r'off by (\S+)', done.stdout)]
    assert len(offs) == 4 and max(offs) < 1e-12
    # 7 of 6 rows is no sum of powers of two, nor is a mean over three steps.
    assert any('no fixed-point potentials' in line for line in lines)


class Ordinary(nn.Module):
    def __init__(self, behind):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 3), SpikeConv2d(4, 4, 3)
        self.behind = behind

    def forward(self, x):
        return self.behind(self.conv(self.stem(x)))


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(
    ('behind', 'words'),
    [
        (nn.GroupNorm(2, 4), 'behind is a GroupNorm that no weights can hold'),
        (nn.Sigmoid(), r'behind \(a Sigmoid\) computes sigmoid, which the format chip does not'),
        (nn.Conv2d(4, 2, 1), 'behind sees real values and not spikes'),
    ],
    ids=['a group norm', 'a sigmoid', 'an ordinary convolution'],
)
def test_what_cannot_be_said_is_refused(behind, words, tmp_path):
    model = set_time_steps(Ordinary(behind), 1).eval()
    with pytest.raises(UserError, match=words):
        export_chip(model, torch.randn(1, 3, 16, 16), tmp_path)


@pytest.mark.filterwarnings('ignore')
def test_norms_that_levels_share_are_named(tmp_path):
    model = narrow_model('retinanet_metaspike_t1_coco', LIF)
    with pytest.raises(UserError, match='bbox_head.* is a BatchNorm2d that no weights can hold'):
        export_chip(model, torch.randn(1, 3, 64, 64), tmp_path)


@pytest.mark.filterwarnings('ignore')
def test_a_silent_model_is_told_of(tmp_path):
    model = set_time_steps(Ordinary(nn.Identity()), 1).eval()
    nn.init.constant_(model.stem.bias, -100.0)
    lines = export_chip(model, torch.randn(2, 3, 16, 16), tmp_path)
    assert 'No neuron fires on these pictures: is the model trained?' in lines
    assert read(tmp_path).returncode == 0


@pytest.mark.filterwarnings('ignore')
def test_a_neuron_of_ones_own_is_refused(tmp_path):
    class Own(SpikingNeuron):
        def run(self, x):
            return self.fire(x - self.v_threshold)

    model = set_time_steps(Ordinary(nn.Identity()), 1).eval()
    model.conv.neuron = Own(time_steps=1)
    with pytest.raises(UserError, match='has a Own, but the format chip has the equations of LIF'):
        export_chip(model, torch.randn(1, 3, 16, 16), tmp_path)
