"""Firing rates reach the visualizer and the log, and silence is said once."""

import logging

import pytest
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmspike.errors import UserError
from mmspike.hooks import FiringRateHook
from mmspike.neurons import LIF

T, B = 2, 2
KEYS = ('first', 'second')


class Two(BaseModel):
    """Two neuron layers whose input is given: a rate of 1/2 in the one, of `level` in the other."""

    def __init__(self, level=0.0):
        super().__init__()
        self.first, self.second = LIF(T), LIF(T)
        self.weight = nn.Parameter(torch.ones(1))
        self.level = level
        self.calls = 0

    def forward(self, inputs, mode='loss'):
        self.calls += 1
        half = torch.cat([torch.full((T * B, 8), 3.0), torch.zeros(T * B, 8)], dim=1)
        fired = self.first(half).sum() + self.second(torch.full((T * B, 16), self.level)).sum()
        return dict(loss=self.weight.sum() * 0 + fired * 0)


def train(model, tmp_path, hook, iterations=4):
    said, scalars = [], []
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.zeros(1))] * iterations,
            batch_size=1,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(by_epoch=False, max_iters=iterations),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=dict(checkpoint=None, logger=dict(type='LoggerHook', interval=2)),
        custom_hooks=[hook],
        experiment_name=f'hook_{tmp_path.name}',
    )
    runner.visualizer.add_scalars = lambda values, step, **_: scalars.append((step, values))
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    runner.logger.addHandler(handler)
    runner.train()
    return scalars, said


def test_rates_of_the_chosen_layers_at_every_interval(tmp_path):
    model = Two()
    scalars, said = train(model, tmp_path, dict(type='mmspike.FiringRateHook', interval=2))
    own = [(step, v) for step, v in scalars if any(k.startswith('firing_rate/') for k in v)]
    assert own == [(step, {'firing_rate/first': 0.5, 'firing_rate/second': 0.0}) for step in (2, 4)]
    assert sum('firing_rate: 0.2500' in line for line in said) == 2
    hook = dict(type='mmspike.FiringRateHook', interval=4, layers='^first')
    scalars, _ = train(Two(), tmp_path / 'other', hook)
    own = [(step, v) for step, v in scalars if 'firing_rate/first' in v]
    assert own == [(4, {'firing_rate/first': 0.5})]


@pytest.mark.parametrize(('level', 'state'), [(0.0, 'silent'), (9.0, 'saturated')])
def test_a_silent_and_a_saturated_layer_are_named_once(tmp_path, level, state):
    hook = dict(type='mmspike.FiringRateHook', interval=1, layers='first')
    _, said = train(Two(level), tmp_path, hook)
    (warning,) = [line for line in said if f'is {state}' in line]
    assert warning.startswith(f'second is {state}: it fires at a rate of')


def test_between_measurements_nothing_is_hooked(tmp_path):
    model = Two()
    hook = FiringRateHook(interval=3)
    hooked = []

    class Look(RuntimeInfoHook):
        priority = 'VERY_LOW'

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            hooked.append(len(model.first._forward_hooks))

    runner_hooks = [hook, Look()]
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.zeros(1))] * 4,
            batch_size=1,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(by_epoch=False, max_iters=4),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=dict(checkpoint=None),
        custom_hooks=runner_hooks,
        experiment_name=f'hooked_{tmp_path.name}',
    )
    runner.train()
    assert hooked == [0, 0, 1, 0]
    assert not model.first._forward_hooks


def test_bad_options(tmp_path):
    with pytest.raises(UserError, match='interval of FiringRateHook is 0, but it must be'):
        FiringRateHook(interval=0)
    hook = dict(type='mmspike.FiringRateHook', layers='third')
    with pytest.raises(UserError, match="'third', but no neuron layer has it .* 'first'"):
        train(Two(), tmp_path, hook)
