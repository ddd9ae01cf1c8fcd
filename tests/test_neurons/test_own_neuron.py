"""The neuron of docs/own_neuron.md, in a file of its own, works in every part of mmspike."""

import json
import re
import sys
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch

from mmspike.commands.benchmark import benchmark
from mmspike.commands.check import check
from mmspike.commands.energy import energy
from mmspike.commands.spikes import spikes
from mmspike.errors import UserError
from mmspike.layers import SDSA3, SpikeConv2d
from mmspike.models.backbones import MetaSpikeFormer
from mmspike.neurons import SpikingNeuron, default_neuron, set_time_steps

ROOT = Path(__file__).parents[2]
CODE, IMPORT = re.findall(
    r'```python\n(.*?)```', (ROOT / 'docs/own_neuron.md').read_text(), re.DOTALL
)
T, B = 2, 2


@pytest.fixture(scope='module')
def alif(tmp_path_factory):
    folder = tmp_path_factory.mktemp('alif')
    (folder / 'alif.py').write_text(CODE)
    assert len(CODE.splitlines()) <= 30
    sys.path.insert(0, str(folder))
    import alif

    yield alif.ALIF
    sys.path.remove(str(folder))
    del sys.modules['alif']


@pytest.fixture
def config(alif, tmp_path):
    pytest.importorskip('mmseg', reason='the library of this config')
    base = ROOT / 'configs/semantic_fpn_metaspike-tiny_t1_shapes.py'
    (tmp_path / 'own.py').write_text(
        f"_base_ = '{base}'\n{IMPORT}model['backbone']['time_steps'] = 2\n"
    )
    return str(tmp_path / 'own.py')


def test_trace_by_hand(alif):
    """decay = 0.5, step = 0.5, threshold 1.

    X = 1.0 1.4 1.3: V = 1 fires at 1, rise 0.5; V = 1.4 is below 1.5, rise 0.25; V = 0.7 + 1.3
    fires above 1.25.
    """
    neuron = alif(time_steps=3, step=0.5)
    assert neuron(torch.tensor([[1.0], [1.4], [1.3]])).flatten().tolist() == [1, 0, 1]


def test_it_stands_in_attention_and_keeps_its_spikes_in_a_byte(alif):
    with default_neuron(dict(type=alif, surrogate='arctan')):
        attention, conv = SDSA3(8, 2), SpikeConv2d(8, 8, 3, padding=1)
    # It takes its input as it is, so it fires at 8 on the sums of the released models.
    assert attention.attention_neuron.v_threshold == 8
    layers = set_time_steps(torch.nn.Sequential(attention, conv), T)
    x = torch.randn(T * B, 8, 6, 6, requires_grad=True)
    layers(5 * x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert conv.neuron.pack(conv.neuron(x)).element_size() == 1


def test_checkpointed_blocks_give_the_same_gradients(alif):
    grads = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        arch = dict(dims=(4, 8, 8, 8, 8), depths=(1,) * 5, heads=2)
        model = MetaSpikeFormer(arch, T, neuron=dict(type=alif, v_threshold=0.3), with_cp=with_cp)
        out = model.double()(torch.randn(B, 3, 32, 32).double())[-1]
        out.square().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    largest = max(float(grad.abs().max()) for grad in grads[0])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-10 * largest)


def test_the_proof_holds(config, capsys):
    check([config, '--size', '64'])
    assert 'spike-driven: all' in capsys.readouterr().out


def test_energy_heat_maps_and_benchmark(config, tmp_path):
    counted = energy([config, '--size', '64', '--out-dir', str(tmp_path / 'energy')])
    assert counted.time_steps == 2 and counted.costs
    picture = tmp_path / 'picture.png'
    mmcv.imwrite(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), str(picture))
    spikes([config, str(picture), '--out-dir', str(tmp_path / 'spikes')])
    rates = json.loads((tmp_path / 'spikes' / 'firing_rates.json').read_text())
    assert {len(layer['rates']) for layer in rates['layers']} == {2}
    result = benchmark([config, '--against', 'twin', '--size', '32', '--repeats', '1'])
    assert len(result) == 2


class Loud(SpikingNeuron):
    def run(self, x):
        return (x > 0) * 2.5


def test_a_neuron_that_fires_other_than_it_says_is_refused():
    with pytest.raises(UserError, match='Loud fires values from 0 to 2.5, but its levels is 1'):
        Loud(T)(torch.randn(T * B, 50))
