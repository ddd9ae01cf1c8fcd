"""A learning rate scaled with the batch size: what a step of the optimizer sees is what counts."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn

from mmspike.commands.console_log import build_runner


@MODELS.register_module(force=True)
class OneWeight(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs=None, data_samples=None, mode='loss'):
        return dict(loss=self.layer(torch.ones(1, 1)).square().sum())


@pytest.mark.parametrize('counts, rate', [(1, 0.1 * 2 / 8), (4, 0.1), (8, 0.2)])
@pytest.mark.parametrize('verbose', [True, False])
def test_accumulated_batches_count(tmp_path, counts, rate, verbose):
    optimizer = dict(type='SGD', lr=0.1)
    config = Config(
        dict(
            model=dict(type='OneWeight'),
            work_dir=str(tmp_path),
            experiment_name=f'scaled_{counts}_{verbose}',
            train_dataloader=dict(
                dataset=[dict(inputs=torch.ones(1))] * 4,
                sampler=dict(type='DefaultSampler'),
                batch_size=2,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=optimizer, accumulative_counts=counts),
            auto_scale_lr=dict(enable=True, base_batch_size=8),
        )
    )
    runner = build_runner(config, verbose)
    runner.train()
    assert runner.optim_wrapper.get_lr()['lr'] == pytest.approx([rate])
