"""The LIF neuron as a module: parameters, time steps, and the choice of backend and layout."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmspike.errors import UserError
from mmspike.registry import MODELS

from . import native
from .functional import lif
from .normed import Normed, came_out_of_norm, lies_channels_last
from .scan import CompiledScan, LIFScan, NativeScan
from .surrogate import DEFAULT_ALPHA, SLOPES
from .timefold import check_time_steps, fold, unfold


@MODELS.register_module()
class LIF(nn.Module):
    r"""Leaky integrate-and-fire neuron on a folded batch.

    The equations stand in `mmspike.neurons.functional`. The defaults are what the released
    Meta-SpikeFormer models were trained with (decayed input). The paper's form (Yao et al., ICLR
    2024, eq. 4-6) is ``LIF(decay_input=False, v_threshold=u_th)`` with
    :math:`\beta = 1 - 1/\tau`; with ``u_th = tau * v_threshold`` both fire the same spikes.

    Every call takes a whole sequence and starts from rest: there is nothing to reset.

    Args:
        time_steps: The number of time steps T; the model that the neuron stands in sets it.
        tau: Membrane time constant in time steps.
        v_threshold: Firing threshold.
        v_reset: Potential after a spike and at rest; None subtracts the threshold (soft reset).
        decay_input: Divide the input by `tau` too.
        detach_reset: Keep the reset out of the gradient.
        surrogate: ``'sigmoid'``, ``'arctan'``, ``'rectangle'``, ``'triangle'``, or such a
            name with its slope: ``dict(type='sigmoid', alpha=4.0)``.
        learnable_threshold: Make the threshold a parameter.
        input_gain: The input comes multiplied by this; threshold, reset and slope are scaled
            instead of dividing it, which gives the same spikes and the same gradients.
        compile: Run the dynamics compiled: on a CPU in C++ (`mmspike.neurons.native`), on a GPU by
            torch.compile. It serves sequences from rest with ``v_reset`` 0 or None and a fixed
            threshold (in C++, with a surrogate of `native.SURROGATES`); elsewhere, and where
            compiling is not possible, the plain loop runs. As
            torch.compile takes seconds for each form of the neuron, None is True on a CPU, and on
            a GPU leaves the choice to the tools, which compile in long runs
            (`mmspike.hooks.CompileNeuronsHook`). False is the plain loop.

    Shape:
        - input: ``[T*B, ...]``
        - output: ``[T*B, ...]`` in {0, 1}

    Raises:
        UserError: If an option is out of its range, `time_steps` was never set, or T does not
            divide the batch.
    """

    spiking = True  # What `is_spiking` looks for.
    compile: bool | None  # type: ignore[assignment]  # It hides nn.Module.compile.

    def __init__(
        self,
        time_steps: int | None = None,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        decay_input: bool = True,
        detach_reset: bool = True,
        surrogate: str | dict = 'sigmoid',
        learnable_threshold: bool = False,
        input_gain: float = 1.0,
        compile: bool | None = None,
    ) -> None:
        super().__init__()
        self.compile = compile
        self.time_steps = None if time_steps is None else check_time_steps(time_steps)
        if tau < 1:
            raise UserError(f'tau is {tau}, but it must be at least 1 time step.')
        if v_reset is not None and v_reset >= v_threshold:
            raise UserError(
                f'v_reset is {v_reset}, but it must be below v_threshold ({v_threshold}): '
                'else the neuron fires without input.'
            )
        surrogate = {'type': surrogate} if isinstance(surrogate, str) else dict(surrogate)
        self.surrogate = surrogate.pop('type', 'sigmoid')
        if self.surrogate not in SLOPES:
            raise UserError(
                f'surrogate is {self.surrogate!r}, but it must be one of {", ".join(SLOPES)}.'
            )
        alpha = surrogate.pop('alpha', DEFAULT_ALPHA[self.surrogate])
        if surrogate or alpha <= 0:
            raise UserError(
                f'surrogate has alpha={alpha} and further options {sorted(surrogate)}, but it '
                'takes a positive alpha and nothing else.'
            )
        self.tau = float(tau)
        self.v_reset = None if v_reset is None else float(v_reset) * input_gain
        self.decay_input = decay_input
        self.detach_reset = detach_reset
        self.alpha = alpha / input_gain
        threshold = float(v_threshold) * input_gain
        self.v_threshold = (
            nn.Parameter(torch.tensor(threshold)) if learnable_threshold else threshold
        )

    def stream(self, x: Tensor, v: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run on from the membrane potential `v` and hand the new one out.

        Shape:
            - x: ``[T, B, ...]`` with any T
            - v: ``[B, ...]``; None is rest
            - returns: spikes ``[T, B, ...]`` and the membrane potential ``[B, ...]`` to continue
              from
        """
        return self._scan(x, v, True)

    def forward(self, x: Tensor) -> Tensor:
        sequence = unfold(x, self.time_steps)
        # In the order in which the elements lie in memory, so that nothing is copied.
        channels_last = lies_channels_last(x)
        if channels_last:
            sequence = sequence.permute(0, 1, 3, 4, 2)
        if self.compile is False or self.v_reset or not isinstance(self.v_threshold, float):
            spikes, fired = self._scan(sequence, None, False), None
        elif native.serves(sequence, self.surrogate):
            spikes, fired = self._run_native(sequence, came_out_of_norm(x, len(sequence)))
        elif self.compile:
            spikes, fired = self._run_compiled(sequence, came_out_of_norm(x, len(sequence)))
        else:
            spikes, fired = self._scan(sequence, None, False), None

        def give_back(value: Tensor) -> Tensor:
            value = fold(value)
            return value.permute(0, 3, 1, 2) if channels_last else value

        spikes = give_back(spikes)
        if fired is not None:
            spikes.unpack = lambda: give_back(fired())  # type: ignore[attr-defined]  # It rides along.
        return spikes

    @property
    def _dynamics(self) -> tuple:
        """The options as `native.make_neuron` and `CompiledScan` take them."""
        soft = self.v_reset is None
        reset = soft, self.decay_input, self.detach_reset
        return self.v_threshold, self.tau, *reset, self.surrogate, self.alpha

    def _run_native(
        self, x: Tensor, normed: Normed | None
    ) -> tuple[Tensor, Callable[[], Tensor] | None]:
        packed: list[native.PackedSpikes] = []
        spikes = NativeScan.apply(x, normed, native.make_neuron(*self._dynamics), packed)
        return spikes, packed[0].unpack if packed else None

    def _run_compiled(
        self, x: Tensor, normed: Normed | None
    ) -> tuple[Tensor, Callable[[], Tensor] | None]:
        flat = x.reshape(normed.input.shape if normed else (len(x), -1))
        spikes, fired = CompiledScan.apply(flat, normed, *self._dynamics)
        shape, dtype = x.shape, x.dtype
        unpack = None if fired is None else lambda: fired.view(shape).to(dtype)
        return spikes.view(shape), unpack

    def _scan(self, x: Tensor, v: Tensor | None, with_state: bool) -> Any:
        threshold: Tensor | float = self.v_threshold
        threshold = threshold.to(x.dtype) if isinstance(threshold, Tensor) else threshold
        if torch.jit.is_tracing() and not self.training:
            # A trace keeps torch's own operations alone, and no gradient of ours.
            with torch.no_grad():
                spikes, v = lif(
                    x,
                    v,
                    tau=self.tau,
                    v_threshold=threshold,
                    v_reset=self.v_reset,
                    decay_input=self.decay_input,
                )
            return (spikes, v) if with_state else spikes
        return LIFScan.apply(
            x,
            v,
            threshold,
            self.tau,
            self.v_reset,
            self.decay_input,
            self.detach_reset,
            self.surrogate,
            self.alpha,
            with_state,
        )

    def extra_repr(self) -> str:
        return (
            f'time_steps={self.time_steps}, tau={self.tau}, '
            f'v_threshold={float(self.v_threshold):.4g}, v_reset={self.v_reset}, '
            f'decay_input={self.decay_input}, surrogate={self.surrogate}(alpha={self.alpha})'
        )
