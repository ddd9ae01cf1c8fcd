"""SpikingJelly reads what was written as NIR, and every neuron fires the same."""

import pytest
import torch

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.deploy import reparameterize
from mmspike.deploy.nir_export import export_nir
from mmspike.errors import UserError
from mmspike.models.backbones import MetaSpikeFormer
from mmspike.neurons import SpikingNeuron
from mmspike.registry import MODELS

nir = pytest.importorskip('nir', reason='the extra [export]')
TINY = dict(dims=(4, 8, 8, 8, 8), depths=(1, 1, 1, 1, 1), heads=2)
T, B = 3, 2


def build(neuron=None, resnet=False, **options):
    torch.manual_seed(0)
    if resnet:
        pytest.importorskip('mmdet', reason='its ResNet spikes')
        kind = MODELS.get('mmspike.SpikeResNet')
        return randomize_norms(kind(depth=18, time_steps=T)).eval()
    return randomize_norms(MetaSpikeFormer(TINY, time_steps=T, neuron=neuron, **options)).eval()


def read_back(path, x):
    """Run a graph in SpikingJelly step by step; the spikes of every neuron by its name."""
    exchange = pytest.importorskip(
        'spikingjelly.activation_based.nir_exchange', reason='a second library reads NIR'
    )
    graph = exchange.import_from_nir(path, dtype=x.dtype)
    spikes = {}
    for name, module in graph.named_modules():
        if hasattr(module, 'module'):  # A neuron with its state.
            module.register_forward_hook(
                lambda module, args, out, name=name: spikes.setdefault(name, []).append(out[0])
            )
    state, outs = None, []
    for _ in range(T):
        out, state = graph(x, state)
        outs.append(out)
    return {name: torch.cat(steps) for name, steps in spikes.items()}, torch.cat(outs)


@pytest.mark.parametrize(
    'neuron',
    [
        dict(type='mmspike.LIF'),
        dict(type='mmspike.LIF', tau=3.0, decay_input=False, v_threshold=1.5),
        dict(type='mmspike.LIF', v_reset=-0.5, tau=1.5),
        dict(type='mmspike.PLIF'),
    ],
)
@torch.no_grad()
def test_every_neuron_fires_the_same_in_spikingjelly(tmp_path, neuron):
    model, x = build(neuron), torch.randn(B, 3, 32, 48)
    told = export_nir(model, x, tmp_path)[0]
    assert 'behind stage 2 with downsamplings_3_neuron' in told and '15 of them neurons' in told
    # In double precision, so that no order of a sum can move a spike.
    merged = reparameterize(model, 'spike').double()
    own = {}
    for name, module in merged.named_modules():
        if isinstance(module, SpikingNeuron):
            module.register_forward_hook(
                lambda module, args, out, name=name: own.update({name.replace('.', '_'): out})
            )
    merged(x.double())
    theirs, out = read_back(tmp_path / 'model.nir', x.double())
    assert len(theirs) == 15
    for name, spikes in theirs.items():
        assert spikes.shape == own[name].shape and torch.equal(spikes, own[name]), name
        assert 0 < spikes.mean() < 1, name
    assert torch.equal(out, own['downsamplings_3_neuron'])


def test_constants_and_edges(tmp_path):
    """tau in seconds of 0.1 ms a step; a shortcut is a second edge into whatever reads the sum."""
    export_nir(build(), torch.randn(B, 3, 32, 32), tmp_path)
    graph = nir.read(tmp_path / 'model.nir')
    lif = graph.nodes['stages_0_0_token_mixer_pointwise1_neuron']
    assert lif.tau.shape == (4, 16, 16) and lif.tau.flat[0] == pytest.approx(2e-4)
    assert (lif.r.flat[0], lif.v_leak.flat[0], lif.v_threshold.flat[0]) == (1, 0, 1)
    into = {a for a, b in graph.edges if b == 'stages_0_0_channel_mixer_0_neuron'}
    assert into == {'downsamplings_0', 'stages_0_0_token_mixer_depthwise'}


def test_what_it_cannot_say_is_told_before_anything_is_written(tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(nir, 'write', lambda *args: seen.append(capsys.readouterr().out))
    export_nir(build(out_indices=(0, 4), out_strides=(4, 16)), torch.randn(B, 3, 32, 32), tmp_path)
    (told,) = seen
    assert told.startswith('NIR cannot say: matmul (stages.3.0.token_mixer: matmul; 4 in all)')
    assert 'max_pool2d (adapters.0.0' in told


@pytest.mark.parametrize(
    'options, lacks',
    [
        (dict(neuron=dict(type='mmspike.ILIF', levels=4)), 'ILIF'),
        (dict(neuron=dict(type='mmspike.LIF', v_reset=None)), r'LIF with soft reset'),
        (dict(resnet=True), 'max_pool2d'),
    ],
)
def test_a_model_of_which_it_can_say_nothing(tmp_path, options, lacks):
    with pytest.raises(UserError, match=f'no neuron .* it has no .*{lacks}.*--format onnx'):
        export_nir(build(**options), torch.randn(B, 3, 64, 64), tmp_path)
    assert not list(tmp_path.iterdir())


def test_sequences_are_refused(tmp_path):
    with pytest.raises(UserError, match='takes sequences'):
        export_nir(build(), torch.randn(B, T, 3, 32, 32), tmp_path)
