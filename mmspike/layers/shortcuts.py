"""Blocks of mixers and their shortcuts: what passes is potentials, spikes or counts.

The three shortcuts differ in where the neuron stands that each mixer begins with. A stage always
takes membrane potentials, and its last block leaves what the neuron of the next layer expects.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn

from mmspike.errors import UserError
from mmspike.neurons.compact import again, keep, set_compact

# A sum of more terms is kept, as computing it again would cost too much.
MOST_TERMS = 3


def add_again(x: Tensor, change: Tensor) -> Tensor:
    """Add to membrane potentials; the sum is computed again from what both can be had from.

    A potential that has no compact form itself is kept by the neuron that it went to.
    """
    out, change_again = x + change, again(change)
    if change_again is None:
        return out
    x_again: Any = again(x) or keep(x)
    terms = getattr(x_again, 'terms', 1) + 1
    if terms > MOST_TERMS:
        return out

    def add() -> Tensor:
        return x_again() + change_again()

    add.terms = terms  # type: ignore[attr-defined]
    return set_compact(out, lambda _: add)


class MetaBlock(nn.Module):
    r"""A token mixer and a channel mixer, each with a membrane shortcut (MS).

    :math:`U \leftarrow U + f(\mathrm{SN}(U))` for either mixer f. The shortcuts add membrane
    potentials, before any neuron: what leaves is a sum of reals, and what the weights see stays
    spikes.

    Args:
        token_mixer: What mixes positions; None leaves it out, with its shortcut.
        channel_mixer: What mixes channels.

    Shape:
        - input, output: ``[T*B, C, H, W]``
    """

    def __init__(self, token_mixer: nn.Module | None, channel_mixer: nn.Module) -> None:
        super().__init__()
        self.token_mixer = token_mixer
        self.channel_mixer = channel_mixer

    def forward(self, x: Tensor, run: Callable[..., Tensor] = nn.Module.__call__) -> Tensor:
        """Add what each mixer makes of the potentials, as `run` runs it."""
        if self.token_mixer is not None:
            x = add_again(x, run(self.token_mixer, x))
        return add_again(x, run(self.channel_mixer, x))


class LocalMetaBlock(nn.Module):
    r"""A local, a token and a channel mixer, each with a membrane shortcut.

    :math:`U \leftarrow U + s\,f(\mathrm{SN}(U))` for each mixer f, as in the transformer blocks of
    E-SpikeFormer (Yao et al., TPAMI 2025); s is a learned scale of each channel, or 1.

    Args:
        local_mixer: What mixes neighbouring positions.
        token_mixer: What mixes all positions.
        channel_mixer: What mixes channels.
        scaled_channels: The number of channels C, which get scales; None is none of them.

    Shape:
        - input, output: ``[T*B, C, H, W]``
    """

    def __init__(
        self,
        local_mixer: nn.Module,
        token_mixer: nn.Module,
        channel_mixer: nn.Module,
        scaled_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.local_mixer = local_mixer
        self.token_mixer = token_mixer
        self.channel_mixer = channel_mixer
        self.scales = None
        if scaled_channels:
            ones = [nn.Parameter(torch.ones(scaled_channels)) for _ in self._mixers()]
            self.scales = nn.ParameterList(ones)

    def _mixers(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        return self.local_mixer, self.token_mixer, self.channel_mixer

    def forward(self, x: Tensor) -> Tensor:
        if self.scales is None:
            for mixer in self._mixers():
                x = x + mixer(x)
            return x
        for mixer, scale in zip(self._mixers(), self.scales, strict=True):
            x = x + mixer(x) * scale.view(-1, 1, 1)
        return x

    def fold_scales(self) -> None:
        """Let the norm at the end of each mixer take its scale."""
        for mixer, scale in zip(self._mixers(), self.scales or (), strict=False):
            # Modules are registered in the order in which they run.
            norm = [module for module in mixer.modules() if isinstance(module, _BatchNorm)][-1]
            norm.weight.mul_(scale)
            norm.bias.mul_(scale)
        self.scales = None


def take_entry_neuron(module: nn.Module) -> nn.Module:
    """Take away the neuron that a module begins with, and return it; its first weights stay bare.

    Args:
        module: A mixer or a spiking convolution, changed in place.

    Raises:
        UserError: If the module has no neuron.
    """
    # Modules are registered in the order in which they run.
    holder: Any = next((m for m in module.modules() if hasattr(m, 'neuron')), None)
    if holder is None:
        raise UserError(
            f'{type(module).__name__} has no neuron that could be moved for its shortcut; give a '
            'mixer of mmspike.layers.'
        )
    neuron, holder.neuron = holder.neuron, nn.Identity()
    return neuron


class MovedNeurons(MetaBlock):
    """A block whose mixers begin without a neuron; theirs stand elsewhere, one for each."""

    token_neuron: nn.Module
    channel_neuron: nn.Module

    def __init__(self, token_mixer: nn.Module | None, channel_mixer: nn.Module) -> None:
        super().__init__(token_mixer, channel_mixer)
        if token_mixer is not None:
            self.token_neuron = take_entry_neuron(token_mixer)
        self.channel_neuron = take_entry_neuron(channel_mixer)

    def forward(self, x: Tensor, run: Callable[..., Tensor] = nn.Module.__call__) -> Tensor:
        """As of `MetaBlock`."""
        if self.token_mixer is not None:
            x = self._add(x, partial(run, self.token_mixer), self.token_neuron)
        return self._add(x, partial(run, self.channel_mixer), self.channel_neuron)

    def _add(self, x: Tensor, mixer: Callable[[Tensor], Tensor], neuron: nn.Module) -> Tensor:
        """Add what a mixer makes of `x` to it, the neuron before or behind."""
        raise NotImplementedError


class VSBlock(MovedNeurons):
    r"""A block with vanilla shortcuts (VS): spikes, added to a membrane potential.

    :math:`S \leftarrow \mathrm{SN}(S + f(S))`, as in Spiking ResNet. The neuron behind a sum is the
    one before the next mixer, so what leaves the block is the sum that still has to fire.

    Arguments and shapes are those of `MetaBlock`.
    """

    def _add(self, x: Tensor, mixer: Callable[[Tensor], Tensor], neuron: nn.Module) -> Tensor:
        spikes = neuron(x)
        return spikes + mixer(spikes)


class SEWBlock(MovedNeurons):
    r"""A block with spike-element-wise shortcuts (SEW) by addition: spikes, added to spikes.

    :math:`S \leftarrow S + \mathrm{SN}(f(S))` (Fang et al., NeurIPS 2021). The sums are counts: the
    first weights of each mixer see integers, not spikes.

    Arguments are those of `MetaBlock`.

    Shape:
        - input, output: ``[T*B, C, H, W]``, integers
    """

    def _add(self, x: Tensor, mixer: Callable[[Tensor], Tensor], neuron: nn.Module) -> Tensor:
        return x + neuron(mixer(x))


class FirstSEWBlock(SEWBlock):
    """The first SEW block behind a norm: it makes spikes of the membrane potentials.

    Arguments are those of `MetaBlock`.

    Shape:
        - input: ``[T*B, C, H, W]``
        - output: ``[T*B, C, H, W]``, integers
    """

    def __init__(self, token_mixer: nn.Module | None, channel_mixer: nn.Module) -> None:
        super().__init__(token_mixer, channel_mixer)
        self.entry_neuron = deepcopy(self.channel_neuron)

    def forward(self, x: Tensor, run: Callable[..., Tensor] = nn.Module.__call__) -> Tensor:
        return super().forward(self.entry_neuron(x), run)


# The first block behind a norm, and the blocks behind that one.
SHORTCUTS = {
    'ms': (MetaBlock, MetaBlock),
    'vs': (VSBlock, VSBlock),
    'sew': (FirstSEWBlock, SEWBlock),
}
