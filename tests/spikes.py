"""What the weight layers of a model see: spikes, or not."""

from collections.abc import Callable

from torch import nn

from mmspike.layers import RepConv, SepConv, SpikeConv2d, SpikeConvTranspose2d, SpikeLinear

SPIKING = (SpikeConv2d, SpikeConvTranspose2d, SpikeLinear)
STOCK = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def see_real_values(model: nn.Module, run: Callable[[], object]) -> set[str]:
    """Name the weight layers that see anything but 0 and 1 while `run` runs the model.

    It also fails if a weight layer never runs or an activation of torch is left.
    """
    binary, called, handles = {}, [], []

    def look(name, x):
        binary[name] = binary.get(name, True) and set(x.unique().tolist()) <= {0.0, 1.0}

    for name, module in model.named_modules():
        if isinstance(module, SPIKING):
            handle = module.neuron.register_forward_hook(
                lambda _, __, out, name=name: look(name, out)
            )
        elif isinstance(module, STOCK):
            handle = module.register_forward_pre_hook(
                lambda _, args, name=name: look(name, args[0])
            )
        elif isinstance(module, nn.ReLU):
            handle = module.register_forward_hook(lambda *_, name=name: called.append(name))
        else:
            continue
        handles.append(handle)
    run()
    for handle in handles:
        handle.remove()
    layers = {
        n
        for n, m in model.named_modules()
        if isinstance(getattr(m, 'weight', None), nn.Parameter)
        and not isinstance(m, nn.modules.batchnorm._BatchNorm)
    }
    assert binary.keys() == layers, 'a weight layer was never run'
    assert called == [], 'a ReLU left over in a head cuts the negative potentials off'
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
