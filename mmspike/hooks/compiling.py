"""The choice of torch.compile for runs on a GPU that are long enough to earn it back.

On a CPU neurons run in C++ anyway, which is compiled once.
"""

from mmengine.device import get_device
from mmengine.logging import print_log
from torch import nn

from mmspike.neurons import LIF

LONG_RUN = 500


def compile_in_long_runs(model: nn.Module, iterations: int) -> bool:
    """Let the neurons that leave `compile` open run compiled on a GPU, if the run is long.

    The number of iterations decides and nothing else does, so that a resumed run goes on as it
    began. The choice is said once in the log.

    Args:
        model: The model to run.
        iterations: The batches of the whole run.

    Returns:
        Whether any neuron was switched.
    """
    neurons = [m for m in model.modules() if isinstance(m, LIF) and m.compile is None]
    if get_device() == 'cpu' or iterations < LONG_RUN or not neurons:
        return False
    for neuron in neurons:
        neuron.compile = True
    print_log(
        f'{len(neurons)} neurons run compiled, as the run has {iterations} iterations; '
        'model.backbone.neuron.compile=False keeps the plain loop.',
        'current',
    )
    return True
