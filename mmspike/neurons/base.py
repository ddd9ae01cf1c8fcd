"""What every spiking neuron has: time steps, memory order, a threshold, a surrogate gradient.

A neuron is a subclass that fills one hole, `SpikingNeuron.run`.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmspike.errors import UserError

from .compact import Again, set_compact
from .surrogate import leaves_torch, parse_surrogate, spike
from .timefold import check_time_steps, fold, unfold

Fired = tuple[Tensor, Again | None]
LEAST_SHARE = 0.01  # Of the first threshold, above rest.


class SpikingNeuron(nn.Module):
    """Base class of spiking neurons, on a folded batch.

    A subclass implements `run` on ``[T, B, ...]``, and says in `levels` how often it fires at most.
    Every call takes a whole sequence and starts from rest: there is nothing to reset.

    Args:
        time_steps: The number of time steps T; the model that the neuron stands in sets it.
        v_threshold: Firing threshold; of an integer neuron the potential that one more spike takes.
        learnable_threshold: Make the threshold a parameter. It is held above rest, by at least a
            hundredth of what it begins with: below, a neuron fires without input.
        input_gain: The input comes multiplied by this; the threshold and the surrogate's slope are
            scaled instead of dividing it, which gives the same spikes and the same gradients.
        surrogate: ``'sigmoid'``, ``'arctan'``, ``'rectangle'``, ``'triangle'``, or such a
            name with its slope: ``dict(type='sigmoid', alpha=4.0)``.
        backend: What runs the dynamics, one of `backends`; ``'auto'`` chooses.

    Attributes:
        levels: The largest count of spikes in a time step; 1 for a binary neuron.
        unit: What one spike is worth: the output is the count of spikes times this.
        in_bytes: Hand on counts as bytes, without a gradient, to weights of 8 bits.
        backends: What can run it. ``'torch'`` is the plain loop.

    Shape:
        - input, output: ``[T*B, ...]``

    Raises:
        UserError: If an option is out of its range, `time_steps` was never set, T does not divide
            the batch, or a class fires something other than its `levels` say.
    """

    spiking = True  # What `is_spiking` looks for.
    levels: int = 1
    unit: float = 1.0
    in_bytes = False
    backends: ClassVar[tuple[str, ...]] = ('torch',)

    def __init__(
        self,
        time_steps: int | None = None,
        v_threshold: float = 1.0,
        learnable_threshold: bool = False,
        input_gain: float = 1.0,
        surrogate: str | dict = 'sigmoid',
        backend: str = 'auto',
    ) -> None:
        super().__init__()
        if backend not in ('auto', *self.backends):
            raise UserError(
                f'backend is {backend!r}, but for {type(self).__name__} it must be one of auto, '
                f'{", ".join(self.backends)}.'
            )
        self.time_steps = None if time_steps is None else check_time_steps(time_steps)
        self.backend = backend
        self.surrogate, alpha = parse_surrogate(surrogate)
        self.alpha = alpha / input_gain
        threshold = float(v_threshold) * input_gain
        self.v_threshold = (
            nn.Parameter(torch.tensor(threshold)) if learnable_threshold else threshold
        )
        self._first_threshold = threshold
        # Nobody else looks whether a class of somebody's own keeps what `levels` says.
        self._is_trusted = type(self).__module__.startswith('mmspike.')

    def run(self, x: Tensor) -> Tensor:
        """Run the dynamics from rest.

        Shape:
            - x: ``[T, B, ...]``, in the order in which the elements lie in memory: channels may
              come last
            - returns: counts of spikes, 0 to `levels`, of the same shape
        """
        raise NotImplementedError

    def fire(self, above: Tensor) -> Tensor:
        """Fire (1) where the potential above the threshold is not negative, else 0.

        The gradient is the neuron's surrogate. What `run` of a binary neuron is made of.
        """
        return spike(above, self.surrogate, self.alpha)

    @property
    def rest(self) -> float:
        """The potential without input."""
        return 0.0

    @torch.no_grad()
    def hold_threshold(self) -> bool:
        """Bring a learned threshold that has come too near to rest back to where it is held.

        Returns:
            Whether it had.
        """
        above = self._first_threshold - self.rest
        lowest = self.rest + LEAST_SHARE * above
        threshold = self.v_threshold
        if not isinstance(threshold, nn.Parameter) or above <= 0:
            return False
        if moved := bool((threshold < lowest).any()):
            threshold.clamp_(min=lowest)
        return moved

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if self.hold_threshold():
            print_log(
                f'{prefix}v_threshold was learned too near to rest, or below: it is held at '
                f'{float(self.v_threshold):.3g}.',
                'current',
                logging.WARNING,
            )

    def threshold_on_sums(self, released: float) -> float:
        """Give the `v_threshold` that this neuron needs on the sums of an attention.

        Args:
            released: What it is in the released models, whose LIF halves its input (decayed input,
                tau of 2). A neuron that takes its input as it is needs twice that.
        """
        return 2 * released

    def pack(self, spikes: Tensor) -> Tensor:
        """Write spikes down in a byte each, for the backward pass of what they are given to."""
        if self.levels == 1 and self.unit == 1:
            return spikes.to(torch.bool)
        return (spikes / self.unit).round_().to(torch.uint8)

    def unpack(self, packed: Tensor, dtype: torch.dtype) -> Tensor:
        """Give the spikes back that `pack` wrote down."""
        return packed.to(dtype) if self.unit == 1 else packed.to(dtype) * self.unit

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.v_threshold, nn.Parameter) and not leaves_torch():
            self.hold_threshold()
        lay_out = self._lay_out_as(x)
        sequence = lay_out(x)
        spikes, fired = (self._count(sequence), None) if self.in_bytes else self._run(x, sequence)
        channels_last = lies_channels_last(x)

        def give_back(value: Tensor) -> Tensor:
            value = fold(value)
            return value.permute(0, 3, 1, 2) if channels_last else value

        spikes = give_back(spikes)
        if self.training and torch.is_grad_enabled() and not self.in_bytes:
            form = None if fired is None else lambda: give_back(fired())
            set_compact(spikes, self._pack if form is None else lambda _: form)
        return spikes

    def _lay_out_as(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Make what unfolds a tensor in the order in which `x` lies in memory, without a copy."""
        channels_last = lies_channels_last(x)

        def lay_out(value: Tensor) -> Tensor:
            # In this order; the other one leaves the gradient of a single sample a stride by which
            # torch takes it for something else, and a norm's backward pass ten times as long.
            value = value.permute(0, 2, 3, 1) if channels_last else value
            return unfold(value, self.time_steps)

        return lay_out

    def _pack(self, spikes: Tensor) -> Again:
        return partial(self.unpack, self.pack(spikes), spikes.dtype)

    def _run(self, x: Tensor, sequence: Tensor) -> Fired:
        """Run `sequence`, the unfolded `x`; return spikes, and what unpacks them if packed."""
        counts = self.run(sequence)
        if not self._is_trusted and not torch.compiler.is_compiling():
            self._check(counts)
        return counts if self.unit == 1 else counts * self.unit, None

    def _count(self, sequence: Tensor) -> Tensor:
        """Run `sequence`; return counts in a byte each."""
        return self._run(sequence, sequence)[0].div(self.unit).to(torch.uint8)

    @torch.no_grad()
    def _check(self, counts: Tensor) -> None:
        """Look at what a class of somebody's own fires, until it has fired something right."""
        if not bool(((counts == counts.round()) & (counts >= 0) & (counts <= self.levels)).all()):
            raise UserError(
                f'{type(self).__name__} fires values from {float(counts.min()):.4g} to '
                f'{float(counts.max()):.4g}, but its levels is {self.levels}: run must return '
                f'whole numbers from 0 to {self.levels}; set levels to the largest count.'
            )
        self._is_trusted = bool(counts.any())

    def extra_repr(self) -> str:
        options = dict(time_steps=self.time_steps, v_threshold=f'{float(self.v_threshold):.4g}')
        options.update(self._describe())
        return ', '.join(f'{name}={value}' for name, value in options.items())

    def _describe(self) -> dict[str, Any]:
        """Further options to print."""
        return {'surrogate': f'{self.surrogate}(alpha={self.alpha})'}


def lies_channels_last(x: Tensor) -> bool:
    """Whether the channels of ``[N, C, H, W]`` are neighbours in memory."""
    return (
        x.dim() == 4
        and x.is_contiguous(memory_format=torch.channels_last)
        and not x.is_contiguous()
    )
