"""Look at the weights themselves: neurons hide from outputs and losses what is wrong with them."""

from collections.abc import Mapping

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmspike.checkpoint import find_weights, first_not_finite, require_finite
from mmspike.checks.weights import unwrap
from mmspike.errors import UserError
from mmspike.registry import HOOKS


@HOOKS.register_module()
class CheckWeightsHook(Hook):
    """Raise a UserError that names the first weight which is no finite number.

    A neuron does not fire on NaN, so predictions and losses stay finite. The weights of a
    checkpoint are looked at when it is loaded, those that are learnt, and the running statistics of
    norms, before each validation and each checkpoint. A checkpoint of another training script,
    whose weights `find_weights` finds, is loaded like one of mmengine.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look at the weights of a checkpoint, and lay them where the runner takes them from.

        Args:
            runner: The runner that loads it.
            checkpoint: What was read from its file.
        """
        require_finite(checkpoint, runner._load_from or '')
        weights = find_weights(checkpoint)
        if weights.keys() != checkpoint.get('state_dict', {}).keys():
            checkpoint['state_dict'] = weights

    def before_val(self, runner: Runner) -> None:
        """Look at the weights before they are scored.

        Args:
            runner: The runner in training or about to validate.
        """
        self._check(unwrap(runner.model).state_dict())

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look at the weights before they are written.

        Args:
            runner: Not used.
            checkpoint: What is about to be written.
        """
        self._check(checkpoint['state_dict'])

    @staticmethod
    def _check(weights: Mapping) -> None:
        if found := first_not_finite(weights):
            raise UserError(
                f'{found[0]} has learnt {found[1]}, so training stopped and no checkpoint was '
                'written with it; lower the learning rate, clip gradients or look at the data, '
                'then go on from an older checkpoint.'
            )
