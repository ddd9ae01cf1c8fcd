"""Settings of optimizer and schedule without effect are named."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs=None, data_samples=None, mode='loss'):
        return dict(loss=self.layer(torch.ones(1, 1)).square().sum())


def train(folder, monkeypatch, lr=0.1, schedule=(), loop=None, **options):
    """Train, and return the learning rate of each iteration and the warnings."""
    rates, said = [], []
    model = Toy()
    model.register_forward_hook(lambda *_: rates.append(runner.optim_wrapper.get_lr()['lr'][0]))
    runner = Runner(
        model,
        str(folder),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.ones(1))] * 2,
            sampler=dict(type='DefaultSampler'),
            batch_size=1,
        ),
        train_cfg=loop or dict(type='EpochBasedTrainLoop', max_epochs=2),
        param_scheduler=list(schedule) or None,
        custom_hooks=[dict(type='mmspike.CheckScheduleHook')],
        experiment_name=f'schedule_{folder.name}_{len(list(folder.iterdir()))}',
        cfg=dict(optim_wrapper=options),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=lr, weight_decay=0.0), **options.pop('wrapper', {})
        ),
        **{key: options.pop(key) for key in ('load_from', 'resume') if key in options},
    )
    monkeypatch.setattr(runner.logger, 'warning', said.append)
    runner.train()
    return rates, [line for line in said if '_param_scheduler` is True' not in line]


def steps(milestone, end, **options):
    return [dict(type='MultiStepLR', begin=0, end=end, milestones=[milestone], **options)]


def test_a_resumed_run_says_what_of_the_config_it_does_not_use(tmp_path, monkeypatch):
    rates, said = train(tmp_path, monkeypatch, 0.1, steps(1, 2))
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01]) and not said
    given = dict(load_from=str(tmp_path / 'epoch_2.pth'), resume=True)
    longer = dict(type='EpochBasedTrainLoop', max_epochs=4)
    rates, said = train(tmp_path, monkeypatch, 0.5, steps(3, 4), longer, **given)
    assert rates == pytest.approx([0.01] * 4)  # What is warned of: not 0.5.
    (line,) = said
    assert 'param_scheduler.0.milestones is [3] in the config and stays [1]' in line
    assert 'param_scheduler.0.end is 4 in the config and stays 2' in line
    assert 'lr (parameter group 0) is 0.5 in the config and stays 0.1' in line
    assert 'load_from=FILE' in line


def test_a_run_that_is_resumed_as_it_was_says_nothing(tmp_path, monkeypatch):
    loop = dict(type='EpochBasedTrainLoop', max_epochs=2)
    train(tmp_path, monkeypatch, 0.1, steps(1, 2), loop)
    given = dict(load_from=str(tmp_path / 'epoch_1.pth'), resume=True)
    rates, said = train(tmp_path, monkeypatch, 0.1, steps(1, 2), loop, **given)
    assert rates == pytest.approx([0.01] * 2) and not said
    # Weights alone bring no schedule with them.
    rates, said = train(tmp_path, monkeypatch, 0.5, (), loop, load_from=given['load_from'])
    assert rates == [0.5] * 4 and not said


def test_a_rate_without_a_schedule(tmp_path, monkeypatch):
    train(tmp_path, monkeypatch, 0.1)
    given = dict(load_from=str(tmp_path / 'epoch_1.pth'), resume=True)
    rates, (line,) = train(tmp_path, monkeypatch, 0.5, **given)
    assert rates == [0.1] * 2 and 'is 0.5 in the config and stays 0.1' in line


@pytest.mark.parametrize('by_epoch', [True, False])
def test_epochs_in_a_loop_over_iterations(tmp_path, monkeypatch, by_epoch):
    loop = dict(type='IterBasedTrainLoop', max_iters=4)
    rates, said = train(tmp_path, monkeypatch, 0.1, steps(2, 4, by_epoch=by_epoch), loop)
    if by_epoch:
        assert rates == [0.1] * 4
        assert 'param_scheduler.0 (MultiStepLR) counts epochs' in said[0] and len(said) == 1
    else:
        assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01]) and not said


def test_keys_that_are_part_of_no_name(tmp_path, monkeypatch):
    keys = dict(custom_keys={'layer.bias': dict(decay_mult=0.0), 'backbon': dict(lr_mult=0.1)})
    _, said = train(tmp_path, monkeypatch, paramwise_cfg=keys, wrapper=dict(paramwise_cfg=keys))
    assert len(said) == 1 and "custom_keys has 'backbon'" in said[0]


@pytest.mark.parametrize(
    'scheduler, late',
    [
        (dict(type='MultiStepLR', milestones=[1, 2, 8]), 'milestones 2, 8 of a run of 2 epochs'),
        (dict(type='MultiStepLR', milestones=[2], begin=1), 'milestones 2 of'),
        (dict(type='StepLR', step_size=2), 'step_size 2 of'),
        (dict(type='CosineAnnealingLR', T_max=3, end=3), 'end 3 of a run of 2 epochs'),
        (
            dict(type='CosineAnnealingLR', T_max=3, end=3, convert_to_iter_based=True),
            'end 6 of a run of 4 iterations',
        ),
        (dict(type='PolyLR', by_epoch=False, end=9), 'end 9 of a run of 4 iterations'),
        (dict(type='LinearLR', by_epoch=False, start_factor=0.1, end=500), 'end 500 of'),
        (dict(type='ExponentialLR', gamma=0.9, begin=2, end=3), 'begin 2 of'),
        (dict(type='MultiStepLR', milestones=[1], end=24), ''),
        (dict(type='StepLR', step_size=1), ''),
        (dict(type='CosineAnnealingLR', T_max=2, end=2, convert_to_iter_based=True), ''),
        (dict(type='CosineAnnealingLR', T_max=1, begin=1, end=2), ''),
        (dict(type='LinearLR', by_epoch=False, start_factor=0.1, end=4), ''),
        (dict(type='ConstantLR', factor=1.0, by_epoch=False), ''),
        (dict(type='ExponentialLR', gamma=0.9), ''),
    ],
)
def test_a_schedule_longer_than_the_run(tmp_path, monkeypatch, scheduler, late):
    """Of two epochs, four iterations."""
    rates, said = train(tmp_path, monkeypatch, 0.1, [scheduler])
    assert len(said) == bool(late)
    if late:
        assert f'param_scheduler.0 ({scheduler["type"]}) has {late}' in said[0]
