r"""Integer neurons: they train on counts of spikes, and run as binary spikes once unrolled.

For :math:`t = 1 .. T`, with the threshold :math:`\theta` and D levels:

.. math::
    U[t] &= \beta\,(U[t-1] - \theta S[t-1]) + X[t] \\
    S[t] &= \mathrm{round}(\mathrm{clip}(U[t] / \theta,\ 0,\ D))

The gradient of S is :math:`1/\theta` where :math:`0 \le U \le \theta D` and 0 elsewhere; the reset
is detached. Ties round to the even count.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmspike.errors import UserError
from mmspike.registry import MODELS

from . import integer_cpp
from .base import Fired, SpikingNeuron
from .build_cpp import count_spikes
from .lif.equations import has_exact_reciprocal
from .surrogate import leaves_torch

MAX_LEVELS = 255  # What a byte can count.


class _RoundClip(torch.autograd.Function):
    """``round(clip(x, 0, levels))``, with the gradient of the clip."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward((x >= 0) & (x <= levels))
        return x.clamp(0, levels).round_()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grad * inside, None


def integer_lif(
    x: Tensor,
    v: Tensor | None = None,
    *,
    levels: int,
    decay: float,
    v_threshold: float | Tensor = 1.0,
) -> tuple[Tensor, Tensor]:
    """Run an integer neuron over a whole sequence: plain PyTorch that defines the truth.

    Args:
        x: Input current, one slice a time step.
        v: Membrane potential after the step before the first; None is rest.
        levels: The largest count D.
        decay: What remains of the potential after a time step, beta.
        v_threshold: The potential that one more spike takes, theta.

    Shape:
        - x: ``[T, B, ...]``
        - v: ``[B, ...]``
        - returns: counts ``[T, B, ...]``, and the potential ``[B, ...]`` after the last step
    """
    counts = []
    for current in x:
        u = current if v is None else decay * v + current
        if leaves_torch():
            count = (u / v_threshold).clamp(0, levels).round()
        else:
            count = _RoundClip.apply(u / v_threshold, levels)
        counts.append(count)
        v = u - v_threshold * count.detach()
    return torch.stack(counts), v  # type: ignore[return-value]  # A sequence has a step.


class IntegerScan(torch.autograd.Function):
    """`integer_lif` from rest as one autograd node, which keeps a byte for each value."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int, decay: float, v_threshold: float) -> Tensor:
        needed = ctx.needs_input_grad[0]
        spikes = torch.empty_like(x)
        inside = torch.empty_like(x, dtype=torch.bool) if needed else None
        v = None
        for t, current in enumerate(x):
            u = current if v is None else torch.add(current, v, alpha=decay)
            scaled = u if v_threshold == 1 else u / v_threshold
            torch.clamp(scaled, 0, levels, out=spikes[t])
            if inside is not None:
                torch.eq(spikes[t], scaled, out=inside[t])
            spikes[t].round_()
            if t < len(x) - 1:
                v = torch.sub(u, spikes[t], alpha=v_threshold)
        if inside is not None:
            ctx.save_for_backward(inside)
            ctx.decay, ctx.v_threshold = decay, v_threshold
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        grad_x = grad_spikes * inside
        if ctx.v_threshold != 1:
            grad_x /= ctx.v_threshold
        for t in range(len(grad_x) - 2, -1, -1):
            grad_x[t].add_(grad_x[t + 1], alpha=ctx.decay)
        return grad_x, None, None, None


@MODELS.register_module()
class ILIF(SpikingNeuron):
    r"""Integer LIF neuron (Luo et al., SpikeYOLO, ECCV 2024): counts from 0 to `levels`.

    The equations stand in `mmspike.neurons.integer`. It trains on integers; for a chip
    ``mmspike.deploy.reparameterize(model, 'unroll')`` makes each count that many binary spikes.

    Args:
        time_steps: As of `SpikingNeuron`.
        levels: The largest count D.
        decay: What remains of the potential after a time step; in [0, 1).
        v_threshold: The potential that one more spike takes.
        learnable_threshold: As of `SpikingNeuron`; it learns the range of the neuron.
        input_gain: As of `SpikingNeuron`.
        backend: ``'cpp'`` runs compiled C++ on a CPU, ``'torch'`` the plain loop; ``'auto'`` is C++
            where it can. A threshold that is learned runs the plain loop.

    Shape:
        - input: ``[T*B, ...]``
        - output: ``[T*B, ...]`` in {0, 1, ... D}, times `unit`

    Raises:
        UserError: If an option is out of its range, `time_steps` was never set, or T does not
            divide the batch.
    """

    normalized = False
    backends = ('torch', 'cpp')

    def __init__(
        self,
        time_steps: int | None = None,
        levels: int = 4,
        decay: float = 0.25,
        v_threshold: float = 1.0,
        learnable_threshold: bool = False,
        input_gain: float = 1.0,
        backend: str = 'auto',
    ) -> None:
        super().__init__(time_steps, v_threshold, learnable_threshold, input_gain, backend=backend)
        if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= MAX_LEVELS:
            raise UserError(
                f'levels is {levels!r}, but it is the largest count of spikes in a time step: it '
                f'must be an integer from 1 to {MAX_LEVELS}.'
            )
        if not 0 <= decay < 1:
            raise UserError(
                f'decay is {decay}, but it is what remains of the potential after a time step: it '
                'must be from 0 to below 1.'
            )
        if v_threshold <= 0:
            raise UserError(f'v_threshold is {v_threshold}, but it must be above 0.')
        self.levels = levels
        self.unit = 1 / levels if self.normalized else 1.0
        self.decay = float(decay)

    def stream(self, x: Tensor, v: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run on from the membrane potential `v` and hand the new one out.

        Shape:
            - x: ``[T, B, ...]`` with any T
            - v: ``[B, ...]``; None is rest
            - returns: spikes ``[T, B, ...]`` and the potential ``[B, ...]`` to continue from
        """
        counts, v = self._integrate(x, v)
        return counts * self.unit, v

    def _integrate(self, x: Tensor, v: Tensor | None) -> tuple[Tensor, Tensor]:
        threshold: Tensor | float = self.v_threshold
        threshold = threshold.to(x.dtype) if isinstance(threshold, Tensor) else threshold
        return integer_lif(x, v, levels=self.levels, decay=self.decay, v_threshold=threshold)

    def run(self, x: Tensor) -> Tensor:
        """As of `SpikingNeuron`."""
        if isinstance(self.v_threshold, Tensor) or torch.jit.is_tracing() or leaves_torch():
            return self._integrate(x, None)[0]
        return IntegerScan.apply(x, self.levels, self.decay, self.v_threshold)

    def _run(self, x: Tensor, sequence: Tensor) -> Fired:
        neuron = self._for_cpp(sequence)
        if neuron is None:
            return super()._run(x, sequence)
        packed: list = []
        spikes = integer_cpp.CppIntegerScan.apply(sequence, neuron, packed)
        return spikes, packed[0] if packed else None

    def _count(self, sequence: Tensor) -> Tensor:
        neuron, library = self._for_cpp(sequence), integer_cpp.library()
        if neuron is None or library is None:
            return super()._count(sequence)
        neuron.unit = 1.0
        return count_spikes(library, sequence, neuron)

    def _for_cpp(self, sequence: Tensor) -> integer_cpp.IntegerNeuron | None:
        """The options for C++; None where the plain loop runs."""
        threshold = self.v_threshold
        if self.backend == 'torch' or not isinstance(threshold, float):
            return None
        if not integer_cpp.serves(sequence):
            return None
        exact = has_exact_reciprocal(threshold)
        return integer_cpp.IntegerNeuron(self.levels, self.decay, threshold, self.unit, exact)

    def _describe(self) -> dict[str, Any]:
        return dict(levels=self.levels, decay=self.decay)


@MODELS.register_module()
class NILIF(ILIF):
    """Normalized integer LIF neuron (Lei et al., Spike2Former, AAAI 2025): counts by `levels`.

    It is an `ILIF` whose spikes are worth 1/D each, so that its output lies in [0, 1] whatever D
    is. At T = 1 it is the neuron of E-SpikeFormer (Yao et al., TPAMI 2025).

    Arguments, shapes and errors are those of `ILIF`.
    """

    normalized = True
