"""Check what mmengine and torch take from a config without a word, or die of later."""

from collections.abc import Callable, Iterable
from typing import Any

from mmengine.config import Config
from torch import nn

from mmspike.checks.misspelt import WAY_OUT
from mmspike.checks.weights import unwrap
from mmspike.config import walk
from mmspike.errors import UserError

# What is expected of a value, and whether one is so.
Rule = tuple[str, Callable[[Any], bool]]


def _whole(least: int, most: int | None = None) -> Rule:
    bounds = f'from {least}' if most is None else f'from {least} to {most}'
    return (
        f'a whole number {bounds}',
        lambda value: isinstance(value, int) and value >= least and (most is None or value <= most),
    )


def _above_zero() -> Rule:
    return 'a number above 0', lambda value: isinstance(value, int | float) and value > 0


def _or_never(rule: Rule) -> Rule:
    return f'{rule[0]}, or -1 for never,', lambda value: value == -1 or rule[1](value)


COMMON: dict[str, Rule] = {
    'randomness.seed': _whole(0, 2**32 - 1),
}
TRAINING: dict[str, Rule] = {
    'train_cfg.max_epochs': _whole(1),
    'train_cfg.max_iters': _whole(1),
    'train_cfg.val_begin': _whole(0),
    'train_cfg.val_interval': _whole(1),
    'optim_wrapper.clip_grad.max_norm': _above_zero(),
    'default_hooks.checkpoint.interval': _or_never(_whole(1)),
    'default_hooks.logger.interval': _whole(1),
    'auto_scale_lr.base_batch_size': _whole(1),
}


def check_values(config: Config, splits: Iterable[str]) -> None:
    """Demand that what a run counts and measures by is of the right kind and in its range.

    Args:
        config: The whole config. What it does not set, or sets to None, is not looked at.
        splits: Which of ``train``, ``val`` and ``test`` will run.

    Raises:
        UserError: If a value is of the wrong kind or out of range.
    """
    given = dict(walk(config._cfg_dict))
    rules = dict(COMMON)
    for split in splits:
        rules[f'{split}_dataloader.batch_size'] = _whole(1)
        if split == 'train':
            rules |= TRAINING
    for key, (expected, fits) in rules.items():
        value = given.get(key)
        if value is not None and (isinstance(value, bool) or not fits(value)):
            raise UserError(f'{key} is {value!r}, but {expected} was expected; {WAY_OUT}.')


def check_runner_options(config: Config) -> None:
    """Refuse what a runner reads, but what cannot do for the config's model what it says.

    Args:
        config: The whole config of a training.

    Raises:
        UserError: If the config asks for it.
    """
    # mmengine's checkpointing is reentrant: gradients pass only where an argument is a tensor that
    # needs one. A picture is none, nor are the features that a neck or a head gets as a tuple.
    if modules := config.get('activation_checkpointing'):
        raise UserError(
            f'activation_checkpointing is {modules!r}, but mmengine computes again in a way that '
            'gives a backbone, and whatever takes a tuple, no gradient, so that it never learns; '
            'leave it out and save memory with model.backbone.with_cp=True.'
        )
    types = (value for key, value in walk(config.model) if key.rpartition('.')[2] == 'type')
    spiking = any(str(kind).startswith('mmspike.') for kind in types)
    if spiking and (modules := config.get('efficient_conv_bn_eval')):
        raise UserError(
            f'efficient_conv_bn_eval is {modules!r}, but torch.fx, by which mmengine does it, '
            'cannot trace a spiking model; leave it out.'
        )


def check_one_output(model: nn.Module) -> None:
    """Refuse a head whose only output cannot tell its classes apart.

    Args:
        model: A built model, possibly wrapped for distribution.

    Raises:
        UserError: If a head of mmseg or mmpretrain takes a softmax of one output, or one of mmseg
            has one for another number of classes than two.
    """
    for name, head in unwrap(model).named_modules():
        losses = getattr(head, 'loss_decode', getattr(head, 'loss_module', None))
        classes: Any = getattr(head, 'num_classes', None)
        if not isinstance(losses, nn.Module) or getattr(head, 'out_channels', classes) != 1:
            continue
        softmax = any(getattr(loss, 'use_sigmoid', True) is False for loss in losses.modules())
        if softmax or hasattr(head, 'loss_decode') and classes != 2:
            raise UserError(
                f'model.{name} has one output for num_classes={classes}, whose softmax is '
                'always 1; make the background a second class (use_sigmoid=True if out_channels=1).'
            )
