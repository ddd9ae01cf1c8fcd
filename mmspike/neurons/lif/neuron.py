"""The LIF neuron as a module, and the choice of what runs it."""

from typing import Any

import torch
from torch import Tensor

from mmspike.errors import UserError
from mmspike.registry import MODELS

from ..base import Fired, SpikingNeuron
from ..build_cpp import count_spikes
from ..compact import Again, again
from ..surrogate import leaves_torch
from . import cpp
from .batch_norm import Normed, came_out_of_norm
from .equations import lif
from .loop import CompiledScan, CppScan, LIFScan


@MODELS.register_module()
class LIF(SpikingNeuron):
    r"""Leaky integrate-and-fire neuron on a folded batch.

    The equations stand in `mmspike.neurons.lif.equations`. The defaults are what the released
    Meta-SpikeFormer models were trained with (decayed input). The paper's form (Yao et al., ICLR
    2024, eq. 4-6) is ``LIF(decay_input=False, v_threshold=u_th)`` with
    :math:`\beta = 1 - 1/\tau`; with ``u_th = tau * v_threshold`` both fire the same spikes.

    Args:
        time_steps: The number of time steps T; the model that the neuron stands in sets it.
        tau: Membrane time constant in time steps.
        v_threshold: Firing threshold.
        v_reset: Potential after a spike and at rest; None subtracts the threshold (soft reset).
        decay_input: Divide the input by `tau` too.
        detach_reset: Keep the reset out of the gradient.
        surrogate: As of `SpikingNeuron`.
        learnable_threshold: As of `SpikingNeuron`.
        input_gain: As of `SpikingNeuron`; the reset is scaled too.
        backend: ``'cpp'`` runs compiled C++ on a CPU (`mmspike.neurons.lif.cpp`), ``'inductor'``
            what torch.compile makes (on a GPU), ``'torch'`` the plain loop. ``'auto'`` is C++ on a
            CPU; on a GPU it is the plain loop, since torch.compile takes seconds for each form of
            the neuron, or in long runs of the tools inductor (`mmspike.hooks.CompileNeuronsHook`).
            The compiled ones serve sequences from rest with ``v_reset`` 0 or None and a fixed
            threshold (C++ with a surrogate of `cpp.SURROGATES`); elsewhere, and where compiling is
            not possible, the plain loop runs.

    Shape:
        - input: ``[T*B, ...]``
        - output: ``[T*B, ...]`` in {0, 1}

    Raises:
        UserError: If an option is out of its range, `time_steps` was never set, or T does not
            divide the batch.
    """

    backends = ('torch', 'cpp', 'inductor')

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
        backend: str = 'auto',
    ) -> None:
        super().__init__(
            time_steps, v_threshold, learnable_threshold, input_gain, surrogate, backend
        )
        if tau < 1:
            raise UserError(f'tau is {tau}, but it must be at least 1 time step.')
        if (v_reset or 0.0) >= v_threshold:
            raise UserError(
                f'v_reset is {v_reset}, but rest ({v_reset or 0.0}) must be below v_threshold '
                f'({v_threshold}): else the neuron fires without input.'
            )
        self.tau = float(tau)
        self.v_reset = None if v_reset is None else float(v_reset) * input_gain
        self.decay_input = decay_input
        self.detach_reset = detach_reset

    @property
    def rest(self) -> float:
        """As of `SpikingNeuron`."""
        return self.v_reset or 0.0

    def threshold_on_sums(self, released: float) -> float:
        """As of `SpikingNeuron`; a LIF that divides its input by tau has the released form."""
        return released if self.decay_input else self.tau * released

    def stream(self, x: Tensor, v: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run on from the membrane potential `v` and hand the new one out.

        Shape:
            - x: ``[T, B, ...]`` with any T
            - v: ``[B, ...]``; None is rest
            - returns: spikes ``[T, B, ...]`` and the membrane potential ``[B, ...]`` to continue
              from
        """
        return self._scan(x, v, True)

    def run(self, x: Tensor) -> Tensor:
        """As of `SpikingNeuron`, by the plain loop."""
        return self._scan(x, None, False)

    def _run(self, x: Tensor, sequence: Tensor) -> Fired:
        if self.backend == 'inductor' and not self._by_loop:
            return self._run_compiled(sequence, came_out_of_norm(x, len(sequence)))
        if self._by_cpp(sequence):
            return self._run_cpp(x, sequence)
        return self.run(sequence), None

    def _count(self, sequence: Tensor) -> Tensor:
        library = cpp.library() if self._by_cpp(sequence) else None
        if library is None:
            return super()._count(sequence)
        return count_spikes(library, sequence, cpp.make_neuron(*self._dynamics))

    @property
    def _by_loop(self) -> bool:
        return bool(self.v_reset) or not isinstance(self.v_threshold, float)

    def _by_cpp(self, sequence: Tensor) -> bool:
        chosen = self.backend in ('auto', 'cpp') and not self._by_loop
        return chosen and cpp.serves(sequence, self.surrogate)

    @property
    def _dynamics(self) -> tuple:
        """The options as `cpp.make_neuron` and `CompiledScan` take them."""
        soft = self.v_reset is None
        reset = soft, self.decay_input, self.detach_reset
        return self.v_threshold, self.tau, *reset, self.surrogate, self.alpha

    def _run_cpp(self, x: Tensor, sequence: Tensor) -> Fired:
        source: Normed | Again | None = came_out_of_norm(x, len(sequence))
        if source is None and (form := again(x)):
            lay_out = self._lay_out_as(x)
            source = lambda: lay_out(form())  # noqa: E731  # As x is.
        packed: list[cpp.PackedSpikes] = []
        spikes = CppScan.apply(sequence, source, cpp.make_neuron(*self._dynamics), packed)
        return spikes, packed[0].unpack if packed else None

    def _run_compiled(self, x: Tensor, normed: Normed | None) -> Fired:
        flat = x.reshape(normed.input.shape if normed else (len(x), -1))
        spikes, fired = CompiledScan.apply(flat, normed, *self._dynamics)
        shape, dtype = x.shape, x.dtype
        unpack = None if fired is None else lambda: fired.view(shape).to(dtype)
        return spikes.view(shape), unpack

    def _scan(self, x: Tensor, v: Tensor | None, with_state: bool) -> Any:
        threshold: Tensor | float = self.v_threshold
        threshold = threshold.to(x.dtype) if isinstance(threshold, Tensor) else threshold
        if leaves_torch() or (torch.jit.is_tracing() and not self.training):
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

    def _describe(self) -> dict[str, Any]:
        own = dict(tau=self.tau, v_reset=self.v_reset, decay_input=self.decay_input)
        return {**own, **super()._describe()}
