"""Stop a training run at the first loss that is not a number."""

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor

from mmspike.errors import UserError
from mmspike.registry import HOOKS


@HOOKS.register_module()
class CheckFiniteLossHook(Hook):
    """Raise a UserError that names the loss, before its gradient reaches any weight.

    ``after_train_iter`` comes after the optimizer's step, so every loss is looked at where the
    model hands it out, in every iteration.
    """

    def before_train(self, runner: Runner) -> None:
        """Look at whatever the model returns from now on.

        Args:
            runner: The runner about to train.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._handle = model.register_forward_hook(
            lambda module, inputs, output: self._check(runner, output)
        )

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was found.

        Args:
            runner: The runner that has trained.
        """
        self._handle.remove()

    @staticmethod
    def _check(runner: Runner, output: object) -> None:
        # Validation returns a list of predictions, training a dict of losses.
        if not isinstance(output, dict):
            return
        losses = {
            name: torch.stack([part.detach().float().sum() for part in parts])
            for name, value in output.items()
            if (parts := [value] if isinstance(value, Tensor) else value)
        }
        # One question to the device per iteration; names are looked up only when it says no.
        if torch.cat(list(losses.values())).isfinite().all():
            return
        name, value = next((n, v) for n, v in losses.items() if not v.isfinite().all())
        raise UserError(
            f'{name} is {value[~value.isfinite()][0].item()} at {_position(runner)}, so training '
            'stopped with the weights of the step before; lower the learning rate, clip gradients '
            'or look at the data.'
        )


def _position(runner: Runner) -> str:
    """Say where training is, counted from 1 as the log does."""
    text = f'iteration {runner.iter + 1}'
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        length = len(runner.train_dataloader)
        text += f' (epoch {runner.epoch + 1}, {runner.iter % length + 1}/{length})'
    return text
