"""CheckFiniteLossHook names the loss and stops before a weight is touched."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmspike.engine import UserError


class Toy(BaseModel):
    """Has three losses, one of which breaks in a chosen iteration."""

    def __init__(self, breaks_at, value):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.breaks_at, self.value = breaks_at, value
        self.seen = []

    def forward(self, inputs=None, data_samples=None, mode='loss'):
        self.seen.append({name: value.clone() for name, value in self.layer.state_dict().items()})
        loss = self.layer(torch.ones(1, 1)).square().sum()
        factor = self.value if len(self.seen) == self.breaks_at else 1.0
        return dict(loss_good=loss, loss_list=[loss, loss * factor], acc=torch.ones(1))


def run(tmp_path, loop, model):
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.ones(1))] * 3,
            sampler=dict(type='DefaultSampler'),
            batch_size=1,
        ),
        train_cfg=loop,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='mmspike.CheckFiniteLossHook')],
        experiment_name=f'finite_{tmp_path.name}',
    )
    runner.train()


@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_stops_with_the_weights_of_the_step_before(tmp_path, value):
    model = Toy(breaks_at=5, value=value)
    with pytest.raises(UserError) as caught:
        run(tmp_path, dict(type='EpochBasedTrainLoop', max_epochs=4), model)
    assert f'loss_list is {value} at iteration 5 (epoch 2, 2/3)' in str(caught.value)
    assert len(model.seen) == 5
    for name, weight in model.layer.state_dict().items():
        assert torch.equal(weight, model.seen[-1][name])
        assert not torch.equal(weight, model.seen[-2][name])
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']


def test_iterations_of_an_iteration_based_run(tmp_path):
    with pytest.raises(UserError, match='at iteration 5, so'):
        run(tmp_path, dict(type='IterBasedTrainLoop', max_iters=9), Toy(5, float('inf')))


def test_finite_losses_pass_and_the_model_is_left_as_it_was(tmp_path):
    model = Toy(5, float('inf'))
    run(tmp_path, dict(type='IterBasedTrainLoop', max_iters=3), model)
    assert len(model.seen) == 3 and not model._forward_hooks
