"""What makes a stock head or neck spike: spiking layers in place of its own, of the same names."""

from collections.abc import Collection
from typing import Any

from mmcv.cnn import ConvModule, bricks, build_norm_layer, is_norm
from mmcv.cnn.bricks import wrappers
from torch import nn

from mmspike.errors import UserError
from mmspike.mixins import ModuleMixin

from .spike_conv import (
    SpikeConv2d,
    SpikeConvTranspose2d,
    SpikeLinear,
    SpikeReadoutConv2d,
    SpikeReadoutLinear,
)

# The wrappers of mmcv are the layers of torch that know empty tensors.
CONVS, TRANSPOSED, LINEARS = (
    (getattr(nn, name), getattr(wrappers, name)) for name in ('Conv2d', 'ConvTranspose2d', 'Linear')
)
SPIKING = {
    **dict.fromkeys(CONVS, SpikeConv2d),
    **dict.fromkeys(TRANSPOSED, SpikeConvTranspose2d),
    **dict.fromkeys(LINEARS, SpikeLinear),
}
READOUTS = {
    **dict.fromkeys((*CONVS, SpikeConv2d), SpikeReadoutConv2d),
    **dict.fromkeys(LINEARS, SpikeReadoutLinear),
}
ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish),
    *(bricks.Swish, bricks.HSwish),
)
MIN_WEIGHT_DIMS = 2  # Norms and scales have one.


def make_spiking(
    module: nn.Module,
    readouts: Collection[str] = (),
    norm_cfg: dict | None = None,
    without_norm: Collection[str] = (),
    analog: Collection[str] = (),
) -> nn.Module:
    """Put a neuron before every weight layer inside a module and take its activations away.

    The layers keep their names, weights and initialization, so `init_cfg` and checkpoints find
    them. A non-linearity that `forward` calls as a function stays; look for it there. What a part
    declares as `bare` (`find_bare`) stays as it is.

    Args:
        module: A stock head or neck, changed in place.
        readouts: Names of the layers that predict, as in ``named_modules``, or of parts that hold
            nothing else, such as a list with one for each level: they average their output over
            time.
        norm_cfg: Config of a norm behind every spiking layer that has none and does not predict:
            it keeps the potentials near the threshold of the next neurons, which else start
            silent. A convolution becomes an `mmcv.cnn.ConvModule`, without a bias.
        without_norm: Names of layers, or of parts that hold them, that get none.
        analog: Likewise those that stay as they are and take real values, such as the stem of a
            backbone, which sees the image.

    Raises:
        UserError: If a name in `readouts` or `analog` is no part of the module, one in `readouts`
            holds something other than layers that can predict, or the module has a weight layer of
            a kind that mmspike has no spiking form of.
    """
    predictors = {name for readout in readouts for name in _find_predictors(module, readout)}
    forms: dict[nn.Module, nn.Module] = {}  # A layer that two parents share stays one.
    stays = _declared_bare(module) | set(analog)
    for name in analog:
        if name not in dict(module.named_modules(remove_duplicate=False)):
            raise UserError(
                f'{type(module).__name__} has no part named {name!r}, which analog names; name '
                'layers that it has.'
            )
    for name, child in list(module.named_modules(remove_duplicate=False)):
        if _inside(name, stays):
            continue
        if child not in forms:
            forms[child] = spiking_form(child, name in predictors)
        new = forms[child]
        if new is not child:
            _replace(module, name, new)
        elif isinstance(child, ConvModule):
            child.with_activation = False
    _require_spiking(module, analog)
    if norm_cfg:
        _add_norms(module, norm_cfg, without_norm)
    return module


def _replace(module: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, own_name = name.rpartition('.')
    setattr(module.get_submodule(parent), own_name, new)


def _find_predictors(module: nn.Module, readout: str) -> list[str]:
    """Name the layers that a readout stands for: itself, or all that it holds."""
    parts = dict(module.named_modules(remove_duplicate=False))
    layers = [name for name, part in parts.items() if type(part) in READOUTS]
    found = [name for name in layers if _inside(name, [readout])]
    head = type(module).__name__
    if not found:
        raise UserError(
            f'{head} has no convolution or linear layer named {readout!r}, nor a part of that name '
            'that holds some, that could predict; name layers that it has in readouts.'
        )
    for name in found:
        parent = parts[name.rpartition('.')[0]]
        if isinstance(parent, ConvModule) and (parent.with_norm or parent.with_activation):
            behind = 'a norm' if parent.with_norm else 'an activation'
            raise UserError(
                f'{readout!r} in readouts of {head} matches {name}, which does not predict: it has '
                f'{behind} behind it; name the layers that put out the predictions.'
            )
    for name, part in parts.items():
        leaf = not any(part.children())
        if _inside(name, [readout]) and leaf and not _inside(name, found):
            raise UserError(
                f'{readout!r} in readouts of {head} matches {name}, a {type(part).__name__}, but '
                'only convolutions and linear layers predict; name those alone.'
            )
    return found


def _add_norms(module: nn.Module, norm_cfg: dict, without_norm: Collection[str]) -> None:
    parts = dict(module.named_modules())
    for name, layer in parts.items():
        parent_name, _, own_name = name.rpartition('.')
        parent = parts.get(parent_name)
        if type(layer) not in SPIKING.values() or _inside(name, without_norm):
            continue
        if isinstance(layer, SpikeLinear):
            layer.norm = layer.norm or build_norm_layer(norm_cfg, layer.out_features)[1]
        elif not isinstance(parent, ConvModule):
            _replace(module, name, _with_norm(layer, norm_cfg))
        elif not parent.with_norm:
            _replace(module, parent_name, _with_norm(layer, norm_cfg))


def _with_norm(conv: nn.Conv2d, norm_cfg: dict) -> ConvModule:
    new = ConvModule(
        *(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding),
        *(conv.dilation, conv.groups),
        norm_cfg=norm_cfg,
        act_cfg=None,
    )
    conv.bias = None  # The norm has one.
    new.conv = conv
    return new


def spiking_form(layer: Any, readout: bool = False) -> Any:
    """Give the layer that spikes in the place of a stock one, with its weights.

    Args:
        layer: Any module; what has no spiking form is returned as it is.
        readout: Whether it predicts, and averages over time.
    """
    form = (READOUTS if readout else SPIKING).get(type(layer))
    if isinstance(layer, ACTIVATIONS):
        return nn.Identity()  # The next layer's neuron is the non-linearity.
    if form is None:
        return layer
    if isinstance(layer, nn.Linear):
        new = form(layer.in_features, layer.out_features)
    else:
        options = ['kernel_size', 'stride', 'padding', 'dilation', 'groups', 'padding_mode']
        if isinstance(layer, nn.ConvTranspose2d):
            options.append('output_padding')
        kwargs = {option: getattr(layer, option) for option in options}
        new = form(layer.in_channels, layer.out_channels, **kwargs)
    new.weight, new.bias = layer.weight, layer.bias
    return new


def find_bare(module: nn.Module) -> dict[str, nn.Module]:
    """Find the weight layers inside a module that have no neuron before them, by their names.

    Norms are none. A class declares those that are meant to have none, as a neuron stands elsewhere
    or they take real values, in `bare`: their names, or those of the parts that hold them.

    Args:
        module: A head, a neck, or any other part of a model.
    """
    declared, known = _declared_bare(module), (*SPIKING.values(), *READOUTS.values())
    found = {}
    for name, child in module.named_modules():
        weight = getattr(child, 'weight', None)
        weighs = isinstance(weight, nn.Parameter) and weight.dim() >= MIN_WEIGHT_DIMS
        if weighs and not (is_norm(child) or isinstance(child, known) or _inside(name, declared)):
            found[name] = child
    return found


def _declared_bare(module: nn.Module) -> set[str]:
    parts = list(module.named_modules(remove_duplicate=False))
    declared = {
        f'{name}.{own}'.lstrip('.')
        for name, part in parts
        for own in getattr(type(part), 'bare', ())
    }
    # A loss is no part of the network.
    return declared | {name for name, _ in parts if name.rpartition('.')[2].startswith('loss')}


def _inside(name: str, parts: Collection[str]) -> bool:
    return any(f'{name}.'.startswith(f'{part}.') for part in parts)


def _require_spiking(module: nn.Module, analog: Collection[str]) -> None:
    for name, child in find_bare(module).items():
        if _inside(name, analog):
            continue
        raise UserError(
            f'{type(module).__name__} has a {type(child).__name__} at {name}, of which mmspike '
            'has no spiking form; build it with convolutions and linear layers of torch.'
        )


class SpikingHead(ModuleMixin):
    """Mixin before a stock head: a neuron before every layer, the predictors averaged over time.

    A subclass names its predictors, or the lists that hold them, in `readouts`; losses, target
    assignment and decoding stay those of the stock head.
    """

    readouts: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        make_spiking(self, self.readouts)
