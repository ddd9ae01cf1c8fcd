"""Merging what no neuron separates: norms into weights, and RepConv and SepConv into one layer."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmengine.model import Sequential
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from mmspike.errors import UserError
from mmspike.layers import ConvNorm, LocalMetaBlock, RepConv, SepConv, SpikeConv2d, SpikeLinear

from .int8 import quantize
from .int8_kernels import use_int8_kernels
from .plain_weights import copy_plain, runs_as_torch
from .unroll import fold_units, unroll

SEQUENCES = (nn.Sequential, Sequential)  # mmengine's is initialized, and runs as torch's does.
FORMS = ('spike', 'fast', 'unroll', 'int8', 'fast-int8')


def reparameterize(model: nn.Module, form: str = 'spike') -> nn.Module:
    """Copy a trained model into the form in which it runs.

    All forms fold each batch norm, and a scale behind it, into the convolution or linear layer
    before it. All but those of 8 bits compute what the model computes, up to rounding.

    - ``'spike'`` is what a chip runs: RepConv becomes one dense 3x3 convolution, and SepConv's
      depthwise and second pointwise convolution one dense 7x7 from 2C to C, so that every weight
      layer but the first sees spikes only; of integer neurons it sees their counts.
    - ``'unroll'`` is that of integer neurons with every count as so many binary sub-steps, so that
      weights see spikes only (`mmspike.deploy.unroll`). Of binary neurons it is ``'spike'``.
    - ``'int8'`` is ``'spike'`` with weights of 8 bits and all else in fixed point
      (`mmspike.deploy.int8`).
    - ``'fast'`` is what a CPU or GPU runs fastest: the separable convolutions stay apart.
    - ``'fast-int8'`` is what a CPU with 8-bit arithmetic runs faster still: SepConv stays apart,
      and convolutions that see spikes have weights of 8 bits (`mmspike.deploy.int8_kernels`).

    Merged layers keep what analysis asks of them: the `row_names` of their operator, and as
    `unmerged_weights` how many weights the convolutions had that they stand for.

    A norm stays where it cannot be folded: group norms, which depend on the input, norms behind a
    layer that changes its weights itself, as `ConvWS2d` does, and norms of a convolution that is
    used elsewhere too, such as those of the levels in `SpikeRetinaHead`. Weights that are pruned or
    parametrized (`torch.nn.utils`) are taken as they are now.

    Args:
        model: Any model, in evaluation mode.
        form: One of `FORMS`.

    Returns:
        A copy in evaluation mode, whose parameters need no gradient. It has other parameters: load
        checkpoints before.

    Raises:
        UserError: If `form` is unknown, the model is in training mode, a norm has no running
            statistics, or the spikes of an integer neuron go elsewhere than into weights.
    """
    if form not in FORMS:
        raise UserError(f'form is {form!r}, but it must be one of {", ".join(FORMS)}.')
    if model.training:
        raise UserError(
            'the model is in training mode, in which norms use the statistics of the batch; call '
            'model.eval() first.'
        )
    with torch.no_grad():
        model = copy_plain(model)
        merged = _Merger(model, form).merge(model, type(model).__name__)
        if form != 'fast':
            fold_units(merged)
        if form == 'unroll':
            unroll(merged)
        elif form == 'int8':
            quantize(merged)
        elif form == 'fast-int8':
            use_int8_kernels(merged)
    merged = merged.to(next(merged.parameters()).device)  # A backbone orders the merged weights.
    merged.requires_grad_(False).eval()  # A stock ResNet's returns nothing.
    return merged


def find_unmerged(model: nn.Module) -> str | None:
    """Name a layer of a model that a chip would run merged and that is not, if there is one.

    A neuron whose spikes are worth other than 1 is one as well: the weights behind take that.
    """
    for name, module in model.named_modules():
        if getattr(module, 'unmerged', False) or getattr(module, 'unit', 1) != 1:
            return name
    return None


class _Apart(nn.Sequential):
    """Convolutions without a neuron between them, which a chip would run merged."""

    unmerged = True


class _Merger:
    """One run of `reparameterize`.

    Args:
        model: The copy to change.
        form: The form.
    """

    def __init__(self, model: nn.Module, form: str) -> None:
        self.form = form
        # A module that stands in two places runs for both, so only what is right there is done.
        self.places = Counter(
            child for module in model.modules() for child in module._modules.values()
        )
        self.merged: dict[nn.Module, nn.Module] = {}
        self.merges: dict[type, Callable] = {
            RepConv: self._rep_conv,
            SepConv: self._sep_conv,
            ConvNorm: self._conv_norm,
            ConvModule: self._conv_module,
            SpikeLinear: self._linear,
            LocalMetaBlock: self._scaled_block,
        }

    def merge(self, module: nn.Module, name: str) -> nn.Module:
        """Return what takes the place of a module: another, or itself with merged children."""
        if module not in self.merged:
            kinds = (kind for kind in self.merges if isinstance(module, kind))
            merge = self.merges.get(next(kinds, nn.Module), self._children)
            self.merged[module] = merge(module, name)
        return self.merged[module]

    def _children(self, module: nn.Module, name: str) -> nn.Module:
        for own_name, child in list(module._modules.items()):
            if child is not None:
                setattr(module, own_name, self.merge(child, f'{name}.{own_name}'))
        for conv_name, norm_name in find_pairs(module):
            self._fold_children(module, conv_name, norm_name, name)
        return module

    def _fold_children(self, module: nn.Module, conv_name: str, norm_name: str, name: str) -> None:
        """Fold a norm of a module into its convolution, where that is right."""
        conv = getattr(module, conv_name)
        if self.places[conv] == 1 and runs_as_torch(conv):
            fold(conv, getattr(module, norm_name), name)
            setattr(module, norm_name, nn.Identity())

    def _own(self, module: nn.Module) -> Any:
        """Give a part that may be changed: a copy, if it stands elsewhere too."""
        return deepcopy(module) if self.places[module] > 1 else module

    def _conv_norm(self, module: ConvNorm, name: str) -> nn.Module:
        if not runs_as_torch(module.conv):
            return module
        return fold(self._own(module.conv), module.norm, name)

    def _scaled_block(self, module: LocalMetaBlock, name: str) -> nn.Module:
        module.fold_scales()  # Into norms, which merge.
        return self._children(module, name)

    def _rep_conv(self, module: RepConv, name: str) -> nn.Module:
        first, depthwise, last = (self._own(getattr(module, part)) for part in module.bare)
        first = fold(first, module.norm1.norm, name)
        last = fold(fold(last, module.norm2, name), module.norm3, name)
        # The border is padded with the first norm's shift: as if zeros were padded before it. So
        # the shift passes the depthwise convolution as a constant, everywhere alike.
        shift = depthwise.weight.sum(dim=(1, 2, 3)) * first.bias
        bias = last.bias + last.weight.flatten(1) @ shift
        if self.form != 'fast':
            # [out, mid] x [mid, kh, kw] x [mid, in] -> [out, in, kh, kw]
            weight = torch.einsum(
                'om,mhw,mi->oihw',
                last.weight.flatten(1),
                depthwise.weight.squeeze(1),
                first.weight.flatten(1),
            )
            return _conv_of(nn.Conv2d, weight, bias, [first, depthwise, last])
        first.bias, last.bias.data = None, bias
        depthwise.padding = depthwise.weight.shape[-1] // 2, depthwise.weight.shape[-1] // 2
        return _Apart(first, depthwise, last)

    def _sep_conv(self, module: SepConv, name: str) -> nn.Module:
        first = self.merge(module.pointwise1, f'{name}.pointwise1')
        depthwise, last = self._own(module.depthwise), self._own(module.pointwise2)
        last = fold(last, module.norm, name)
        if self.form.startswith('fast'):
            return _Apart(first, depthwise, last)
        weight = last.weight * depthwise.weight.squeeze(1)  # [out, in, 1, 1] * [in, kh, kw]
        dense = _conv_of(SpikeConv2d, weight, last.bias, [depthwise, last])
        dense.neuron = depthwise.neuron
        merged: Any = nn.Sequential(OrderedDict(pointwise1=first, depthwise=dense))
        merged.row_names = module.row_names
        return merged

    def _conv_module(self, module: ConvModule, name: str) -> nn.Module:
        if (
            module.with_norm
            and module.order[:2] == ('conv', 'norm')
            and isinstance(module.norm, _BatchNorm)
        ):
            self._fold_children(module, 'conv', module.norm_name, name)
        return module

    def _linear(self, module: SpikeLinear, name: str) -> nn.Module:
        norm = module.norm
        if isinstance(norm, _BatchNorm):
            module.weight, module.bias = fuse_linear_bn_weights(
                module.weight, module.bias, *_statistics(norm, name)
            )
            module.norm = None
        return module


def find_pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Name the convolutions of a module that have a batch norm right behind them, and these norms.

    Args:
        module: A sequence of layers, or a ResNet or one of its blocks in OpenMMLab's form, whose
            ``norm1`` stands behind ``conv1`` under the name that ``norm1_name`` says.
    """
    parts = module._modules  # `named_children` leaves out what comes again.
    pairs = list(pairwise(parts)) if type(module) in SEQUENCES else []
    pairs += [(f'conv{i}', getattr(module, f'norm{i}_name', '')) for i in range(1, 4)]
    return [
        (conv, norm)
        for conv, norm in pairs
        if isinstance(parts.get(conv), _ConvNd) and isinstance(parts.get(norm), _BatchNorm)
    ]


def fold(conv: Any, norm: nn.Module, name: str) -> Any:
    """Fold a batch norm into the convolution before it, which is changed.

    Args:
        conv: A convolution of any kind; what else it has, such as a neuron, stays.
        norm: Its norm, with running statistics.
        name: Where they are, for the message.

    Raises:
        UserError: If the norm has no running statistics.
    """
    statistics = _statistics(norm, name)
    transposed = getattr(conv, 'transposed', False)
    weight = _transpose(conv.weight, conv.groups) if transposed else conv.weight
    conv.weight, conv.bias = fuse_conv_bn_weights(weight, conv.bias, *statistics)
    if transposed:
        conv.weight = nn.Parameter(_transpose(conv.weight, conv.groups))
    return conv


def _transpose(weight: Tensor, groups: int) -> Any:
    """Exchange output and input channels of ``[out, in / groups, ...]``, in each group."""
    return weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


def _statistics(norm: nn.Module, name: str) -> tuple[Any, Any, float, Any, Any]:
    """Give mean, variance, epsilon, scale and shift of a norm, and refuse one without them."""
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None:
        raise UserError(
            f'{name} has a {type(norm).__name__} without running statistics, which cannot be '
            "folded into weights; set norm_cfg to dict(type='BN')."
        )
    return norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias


def _conv_of(kind: type[nn.Conv2d], weight: Tensor, bias: Tensor, merged: list[Any]) -> Any:
    """Make a convolution of given weights that keeps the size, in place of those `merged`."""
    out_channels, in_channels, size, _ = weight.shape
    conv: Any = kind(in_channels, out_channels, size, padding=size // 2, bias=True)
    conv.weight, conv.bias = nn.Parameter(weight.contiguous()), nn.Parameter(bias)
    conv.unmerged_weights = sum(part.weight.numel() for part in merged)  # Of the ANN twin.
    return conv
