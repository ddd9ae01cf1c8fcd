"""What the weight layers of a model see: spikes, or not."""

from collections.abc import Callable
from contextlib import ExitStack
from unittest.mock import patch

from torch import nn

from mmspike.layers import RepConv, SepConv
from mmspike.layers.spiking_head import ACTIVATIONS

STOCK = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def see_real_values(model: nn.Module, run: Callable[[], object]) -> set[str]:
    """Name the weight layers that see anything but 0 and 1 while `run` runs the model.

    It also fails if a weight layer never runs or an activation of torch is left.
    """
    binary, called, handles, names = {}, [], [], {}

    def look(name, x):
        binary[name] = binary.get(name, True) and set(x.unique().tolist()) <= {0.0, 1.0}

    running = []
    for name, module in model.named_modules():
        if isinstance(module, STOCK):
            # Weights are multiplied inside torch's own forward, behind the neuron.
            handles.append(module.register_forward_pre_hook(lambda m, _: running.append(m)))
            names[module] = name
        elif isinstance(module, ACTIVATIONS):
            handles.append(module.register_forward_hook(lambda *_, name=name: called.append(name)))
    run_layers = {
        kind: getattr(nn.functional, kind) for kind in ('conv2d', 'conv_transpose2d', 'linear')
    }

    def spy(kind):
        def call(x, *args, **kwargs):
            look(names[running[-1]], x)
            return run_layers[kind](x, *args, **kwargs)

        return call

    with ExitStack() as stack:
        for kind in run_layers:
            stack.enter_context(patch.object(nn.functional, kind, spy(kind)))
        run()
    for handle in handles:
        handle.remove()
    layers = {
        n
        for n, m in model.named_modules()
        if isinstance(getattr(m, 'weight', None), nn.Parameter)
        and not isinstance(m, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm))
    }
    assert binary.keys() == layers, 'a weight layer was never run'
    assert called == [], 'an activation left over in a head cuts the negative potentials off'
    return {name for name, spikes in binary.items() if not spikes}


def may_see_real_values(model: nn.Module) -> set[str]:
    """Name the exceptions: the first convolution, and what no neuron separates from a layer."""
    names = {'backbone.downsamplings.0.conv'}
    for name, module in model.named_modules():
        if isinstance(module, RepConv):
            names |= {f'{name}.depthwise', f'{name}.pointwise2'}
        elif isinstance(module, SepConv):
            names |= {f'{name}.pointwise2'}
    return names
