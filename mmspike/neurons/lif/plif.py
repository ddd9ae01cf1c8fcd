"""The parametric LIF neuron, whose time constant is learned."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from mmspike.errors import UserError
from mmspike.registry import MODELS

from .equations import lif
from .neuron import LIF


@MODELS.register_module()
class PLIF(LIF):
    r"""A LIF whose time constant is learned, one a layer (Fang et al., ICCV 2021, eq. 8).

    :math:`\tau = 1 + e^{-w}` with the parameter w, so that :math:`1/\tau = \mathrm{sigmoid}(w)`.
    Training runs the plain loop through autograd, which keeps every potential; without gradients
    it is a LIF of the tau that was learned.

    Arguments and shapes are those of `LIF`; `tau` is where the time constant starts.

    Raises:
        UserError: As of `LIF`, and if `tau` is not above 1.
    """

    @property
    def tau(self) -> float:
        """The time constant now, in time steps."""
        return float(1 + torch.exp(-self.w.detach()))

    @tau.setter
    def tau(self, value: float) -> None:
        if value <= 1:
            raise UserError(
                f'tau is {value}, but a learned one is 1 + exp(-w): it must start above 1 time '
                'step.'
            )
        self.w = nn.Parameter(torch.tensor(-math.log(value - 1)))

    def _scan(self, x: Tensor, v: Tensor | None, with_state: bool) -> Any:
        if not torch.is_grad_enabled():
            return super()._scan(x, v, with_state)
        threshold = self.v_threshold
        spikes, v = lif(
            x,
            v,
            tau=(1 + torch.exp(-self.w)).to(x.dtype),
            v_threshold=threshold.to(x.dtype) if isinstance(threshold, Tensor) else threshold,
            v_reset=self.v_reset,
            decay_input=self.decay_input,
            detach_reset=self.detach_reset,
            surrogate=self.surrogate,
            alpha=self.alpha,
        )
        return (spikes, v) if with_state else spikes

    def _run(self, x: Tensor, sequence: Tensor) -> Any:
        if not torch.is_grad_enabled():
            return super()._run(x, sequence)
        return self.run(sequence), None
