"""Let neurons run compiled on a GPU where a run is long enough to pay for it."""

from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmspike.neurons import SpikingNeuron
from mmspike.registry import HOOKS

LONG_RUN = 500


@HOOKS.register_module()
class CompileNeuronsHook(Hook):
    """Decide at the beginning of a run; see `compile_in_long_runs`."""

    def before_run(self, runner: Runner) -> None:
        """Count the batches of the whole run.

        Args:
            runner: The runner about to train or to test.
        """
        train, test = runner._train_loop, runner._test_loop
        if isinstance(train, BaseLoop):
            compile_in_long_runs(runner.model, train.max_iters)
        elif isinstance(test, BaseLoop):
            compile_in_long_runs(runner.model, len(test.dataloader))


def compile_in_long_runs(model: nn.Module, iterations: int) -> bool:
    """Let the neurons that leave `backend` open run compiled on a GPU, if the run is long.

    The number of iterations decides and nothing else does, so that a resumed run goes on as it
    began. The choice is said once in the log.

    Args:
        model: The model to run.
        iterations: The batches of the whole run.

    Returns:
        Whether any neuron was switched.
    """
    neurons = [
        module
        for module in model.modules()
        if isinstance(module, SpikingNeuron)
        and module.backend == 'auto'
        and 'inductor' in module.backends
    ]
    if get_device() == 'cpu' or iterations < LONG_RUN or not neurons:
        return False
    for neuron in neurons:
        neuron.backend = 'inductor'
    print_log(
        f'{len(neurons)} neurons run compiled, as the run has {iterations} iterations; '
        'model.backbone.neuron.backend=torch keeps the plain loop.',
        'current',
    )
    return True
