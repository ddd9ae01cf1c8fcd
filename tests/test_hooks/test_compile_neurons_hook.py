"""Neurons whose config leaves it open are compiled in long runs on a GPU, and in no other."""

import logging

import pytest
from mmengine.logging import MMLogger
from torch import nn

from mmspike.hooks import compile_neurons_hook as compiling
from mmspike.hooks.compile_neurons_hook import LONG_RUN, compile_in_long_runs
from mmspike.neurons import LIF


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Pretend that there is one."""
    monkeypatch.setattr(compiling, 'get_device', lambda: 'cuda')


def model():
    return nn.Sequential(LIF(2), nn.ReLU(), LIF(2, backend='torch'), LIF(2, backend='inductor'))


@pytest.mark.parametrize(
    'iterations, first',
    [(1, 'auto'), (LONG_RUN - 1, 'auto'), (LONG_RUN, 'inductor'), (10**6, 'inductor')],
)
def test_the_length_of_the_run_decides_what_the_config_leaves_open(iterations, first):
    neurons = model()
    assert compile_in_long_runs(neurons, iterations) == (first == 'inductor')
    assert [neurons[i].backend for i in (0, 2, 3)] == [first, 'torch', 'inductor']


def test_it_is_said_once_with_the_way_back(caplog):
    logger = MMLogger.get_instance('compiling', log_level='INFO')
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    compile_in_long_runs(model(), LONG_RUN)
    assert len(said) == 1
    assert '1 neurons run compiled' in said[0] and 'neuron.backend=torch' in said[0]
    assert not compile_in_long_runs(nn.Sequential(nn.ReLU(), LIF(2, backend='inductor')), LONG_RUN)
    assert len(said) == 1


def test_on_a_cpu_nothing_is_switched(monkeypatch):
    monkeypatch.setattr(compiling, 'get_device', lambda: 'cpu')
    assert not compile_in_long_runs(model(), LONG_RUN)
