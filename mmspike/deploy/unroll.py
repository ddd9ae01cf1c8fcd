"""Integer neurons for a chip: counts in place of fractions, then binary sub-steps for counts."""

from typing import Any

from torch import nn

from mmspike.errors import UserError
from mmspike.layers import SDSA3
from mmspike.layers.spike_conv import Spiking
from mmspike.neurons import SpikingNeuron


def fold_units(model: nn.Module) -> None:
    """Let normalized neurons hand on counts; the weights behind take what a spike is worth.

    Args:
        model: A merged copy, changed in place.

    Raises:
        UserError: If their spikes go elsewhere than into weights.
    """
    worth: dict[Any, str] = {
        module: name
        for name, module in model.named_modules()
        if isinstance(module, SpikingNeuron) and module.unit != 1
    }
    weighed = in_front_of_weights(model)
    for neuron, name in worth.items():
        if neuron not in weighed:
            raise UserError(
                f'{name} is a {type(neuron).__name__}, whose spikes are worth {neuron.unit:.3g} '
                'each, but they do not go into weights alone, which could take that '
                "(mmspike.Neuron as act_cfg and the shortcuts 'vs' and 'sew' hand them on); use "
                'mmspike.ILIF there.'
            )
    for module in list(model.modules()):
        if isinstance(module, SDSA3) and module.neuron in worth:
            module.fold_units()
        elif isinstance(module, Spiking) and isinstance(module.neuron, SpikingNeuron):
            module.fold_unit(module.neuron.unit)
    for neuron in worth:
        neuron.unit = 1.0


def unroll(model: nn.Module) -> None:
    """Write every count of spikes as that many binary sub-steps, in front of the weights.

    The sums over the sub-steps are taken before anything that is not linear, and the bias is added
    once; the potentials of the next neuron, and a readout, know of time steps alone. Of the product
    of two spike tensors K is unrolled in K^T V, and Q in Q (K^T V): they select what is added.

    Args:
        model: A merged copy whose neurons fire counts, changed in place.

    Raises:
        UserError: If weights see sums of counts, which have no largest.
    """
    if not any(m.levels > 1 for m in model.modules() if isinstance(m, SpikingNeuron)):
        return
    weighed = in_front_of_weights(model)
    for name, neuron in model.named_modules():
        if isinstance(neuron, SpikingNeuron) and neuron.levels > 1 and neuron not in weighed:
            raise UserError(
                f'{name} is a {type(neuron).__name__} that fires up to {neuron.levels} spikes, but '
                'they do not go into weights alone, which could see them one by one '
                "(mmspike.Neuron as act_cfg and the shortcuts 'vs' and 'sew' hand counts on); use "
                "mmspike.LIF there, or neurons before the weights, as the shortcut 'ms' has."
            )
    for module in list(model.modules()):
        if isinstance(module, SDSA3):
            module.unroll()
        elif isinstance(module, Spiking) and isinstance(module.neuron, SpikingNeuron):
            module.unroll(module.neuron.levels)


def in_front_of_weights(model: nn.Module) -> set[nn.Module]:
    """Find the neurons whose spikes go into weights, or an attention, and nowhere else."""
    found: set[nn.Module] = set()
    elsewhere: set[Any] = set()
    for module in model.modules():
        if isinstance(module, SDSA3):
            found.update(m for m in module.modules() if isinstance(m, SpikingNeuron))
        elif isinstance(module, Spiking):
            found.add(module.neuron)
        else:
            elsewhere.update(module._modules.values())
    return found - elsewhere
