"""A model leaves torch by torch.export and torch.jit.trace, with the same numbers."""

import io
from copy import deepcopy

import pytest
import torch

from mmspike.analysis.spike_driven import randomize_norms
from mmspike.models.backbones import MetaSpikeFormer

TINY = dict(dims=(4, 8, 8, 8, 8), depths=(1, 1, 1, 1, 1), heads=2)


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(0)
    return randomize_norms(MetaSpikeFormer(TINY, time_steps=2, out_indices=(1, 4))).eval()


@pytest.fixture
def fresh(backbone):
    """As from a checkpoint: no forward has run, and the weights lie as their input will."""
    model = deepcopy(backbone)
    assert next(model.parameters()).is_contiguous(memory_format=torch.channels_last)
    return model


def export(model, x):
    return torch.export.export(model, (x,)).module()


def trace(model, x):
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, x, check_trace=False), buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('way', [export, trace])
@pytest.mark.parametrize('grad', [True, False])
def test_a_fresh_model_leaves_with_the_same_numbers(fresh, way, grad):
    x, y = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32)
    with torch.set_grad_enabled(grad):
        left = way(fresh, x)
    assert next(fresh.parameters()).is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        for out, own in zip(left(y), fresh(y), strict=True):
            assert own.abs().max() > 0
            torch.testing.assert_close(out, own)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(
    'neuron', [dict(v_reset=None), dict(decay_input=False), dict(v_reset=-0.5, tau=3.0)]
)
def test_a_trace_of_any_neuron_fires_the_same(neuron):
    model = randomize_norms(
        MetaSpikeFormer(TINY, time_steps=2, neuron=dict(type='mmspike.LIF', **neuron))
    ).eval()
    x, y = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32)
    left = trace(model, x)
    with torch.no_grad():
        for out, own in zip(left(y), model(y), strict=True):
            torch.testing.assert_close(out, own)
