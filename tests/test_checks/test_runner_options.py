"""Options that a runner reads, though they cannot do what they say for the model."""

import pytest
import torch
from mmengine.config import Config
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from torch import nn

from mmspike.checks.settings import check_runner_options
from mmspike.errors import UserError
from mmspike.models.backbones import MetaSpikeFormer

TINY = dict(dims=(4, 8, 8, 8, 8), depths=(1, 1, 1, 1, 1), heads=2)


def config(model='mmspike.SpikeMaskRCNN', **options):
    return Config(dict(model=dict(type='A', parts=[dict(type=model)]), **options))


@pytest.mark.parametrize(
    'option, value, way_out',
    [
        ('activation_checkpointing', ['backbone'], 'model.backbone.with_cp=True'),
        ('activation_checkpointing', 'neck', 'model.backbone.with_cp=True'),
        ('efficient_conv_bn_eval', ['backbone'], 'leave it out'),
    ],
)
def test_refused_with_a_way_out(option, value, way_out):
    with pytest.raises(UserError) as caught:
        check_runner_options(config(**{option: value}))
    assert option in caught.value.sentence and way_out in caught.value.sentence


def test_what_works_is_let_through():
    check_runner_options(config(activation_checkpointing=None, sync_bn='torch', runner_type='Own'))
    check_runner_options(config('ResNet', efficient_conv_bn_eval=['backbone']))


@pytest.mark.filterwarnings('ignore')
def test_the_reason_still_holds():
    """Once mmengine checkpoints otherwise, the option need not be refused any more."""
    model = nn.ModuleDict(dict(backbone=MetaSpikeFormer(TINY))).train()
    turn_on_activation_checkpointing(model, ['backbone'])
    outs = model['backbone'](torch.randn(2, 3, 32, 32))
    assert not any(out.requires_grad for out in outs)
