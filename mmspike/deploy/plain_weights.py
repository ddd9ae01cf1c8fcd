"""Weights that are plain parameters: no other tensor and no method computes them as they run."""

from copy import deepcopy
from typing import Any

from mmcv.cnn.bricks import wrappers
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from mmspike.layers import SpikeConv2d, SpikeConvTranspose2d
from mmspike.layers.spike_conv import SpikeReadoutConv2d


def copy_plain(model: nn.Module) -> nn.Module:
    """Copy a model, and give what was pruned or parametrized the weights that it has now.

    That is what `torch.nn.utils.prune`, `torch.nn.utils.parametrize` and the older
    `torch.nn.utils.weight_norm` and `torch.nn.utils.spectral_norm` leave when they are removed.

    Args:
        model: Any model, in evaluation mode.

    Returns:
        The copy.
    """
    # A weight that was computed with gradients is no leaf, which torch does not copy.
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and value.grad_fn is not None
    }
    model = deepcopy(model, computed)
    for module in list(model.modules()):
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, hook._tensor_name)
            elif isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)
        if parametrize.is_parametrized(module):
            _drop_parametrizations(module)
    return model


def _drop_parametrizations(module: nn.Module) -> None:
    """Make plain what is parametrized; torch's own way would change the class of the original."""
    names: Any = module.parametrizations
    computed = {name: getattr(module, name) for name in names}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in computed.items():
        module.register_parameter(name, nn.Parameter(value.detach().clone()))


CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(SpikeConv2d, SpikeConvTranspose2d, SpikeReadoutConv2d),
    *(wrappers.Conv2d, wrappers.Conv3d, wrappers.ConvTranspose2d, wrappers.ConvTranspose3d),
)
METHODS = {
    getattr(kind, method, None) for kind in CONVOLUTIONS for method in ('forward', '_conv_forward')
}


def runs_as_torch(conv: nn.Module) -> bool:
    """Whether a layer is linear in its weights: no method of its own changes them as it runs."""
    return {getattr(type(conv), m, None) for m in ('forward', '_conv_forward')} <= METHODS
