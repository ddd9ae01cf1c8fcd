"""Weights that are no numbers, which no output and no loss of a spiking model shows."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmspike.checkpoint import first_not_finite
from mmspike.engine import UserError, load_checkpoint_file


class Silent(BaseModel):
    """Its loss stays finite whatever its second layer learns, as behind a neuron."""

    def __init__(self, broken_at=None):
        super().__init__()
        self.first, self.norm = nn.Linear(1, 1), nn.BatchNorm1d(1)
        self.broken_at, self.steps = broken_at, 0

    def forward(self, inputs=None, data_samples=None, mode='loss'):
        self.steps += 1
        if self.steps == self.broken_at:
            self.norm.running_var.fill_(float('inf'))
        return dict(loss=self.first(torch.ones(1, 1)).square().sum())


def make_runner(tmp_path, model, loop=None, **options):
    return Runner(
        model,
        str(tmp_path),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.ones(1))] * 2,
            sampler=dict(type='DefaultSampler'),
            batch_size=1,
        ),
        train_cfg=loop or dict(type='EpochBasedTrainLoop', max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='mmspike.CheckWeightsHook')],
        experiment_name=f'weights_{tmp_path.name}',
        **options,
    )


@pytest.mark.parametrize('broken_at, left', [(1, []), (3, ['epoch_1.pth'])])
def test_what_was_learnt_is_not_written(tmp_path, broken_at, left):
    with pytest.raises(UserError) as caught:
        make_runner(tmp_path, Silent(broken_at)).train()
    assert caught.value.sentence.startswith('norm.running_var has learnt inf, so training stopped')
    assert [path.name for path in tmp_path.glob('*.pth')] == left


def test_finite_weights_are_written(tmp_path):
    make_runner(tmp_path, Silent()).train()
    assert (tmp_path / 'epoch_2.pth').is_file()


def save(path, wrapper, prefix, value=0.25):
    weights = {f'{prefix}{k}': v.clone() for k, v in Silent().state_dict().items()}
    weights[f'{prefix}first.weight'].fill_(value)
    torch.save({wrapper: weights} if wrapper else weights, path)
    return str(path)


@pytest.mark.parametrize('wrapper', ['state_dict', 'model', 'model_state_dict', None])
@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'module._orig_mod.'])
def test_weights_of_any_training_script_are_loaded(tmp_path, wrapper, prefix):
    path = save(tmp_path / 'given.pth', wrapper, prefix)
    runner = make_runner(tmp_path, Silent(), load_from=path)
    runner.load_or_resume()
    assert runner.model.first.weight.item() == 0.25


@pytest.mark.parametrize('wrapper', ['state_dict', 'model', None])
@pytest.mark.parametrize('value', [float('nan'), float('-inf')])
def test_a_file_that_holds_no_numbers(tmp_path, wrapper, value):
    path = save(tmp_path / 'given.pth', wrapper, 'module.', value)
    runner = make_runner(tmp_path, Silent(), load_from=path)
    for load in (runner.load_or_resume, lambda: load_checkpoint_file(path)):
        with pytest.raises(UserError) as caught:
            load()
        assert f"'{path}' holds {value} in first.weight" in caught.value.sentence


def test_the_first_is_named_and_integers_and_half_precision_are_taken():
    weights = dict(
        count=torch.tensor(3),
        empty=torch.zeros(0),
        half=torch.full((3,), 6e4, dtype=torch.float16),
        extra=dict(no='tensor'),
        bad=torch.tensor([1.0, float('inf'), float('nan')]),
        worse=torch.tensor(float('nan')),
    )
    assert first_not_finite(weights) == ('bad', float('inf'))
    del weights['bad'], weights['worse']
    assert first_not_finite(weights) is None
