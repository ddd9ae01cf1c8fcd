"""Copies of models whose weights are plain parameters, not computed from others at each forward."""

from copy import deepcopy

from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm


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
        for name in list(getattr(module, 'parametrizations', ())):
            parametrize.remove_parametrizations(module, name)
    return model
