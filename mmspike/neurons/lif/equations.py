r"""Neuron dynamics as pure functions: plain PyTorch that defines the truth.

Charge, fire, reset, for :math:`t = 1 .. T` (Fang et al., ICCV 2021, eq. 1-4):

.. math::
    U[t] &= V[t-1] + (X[t] - (V[t-1] - V_{reset})) / \tau  \quad\text{(decayed input)} \\
    U[t] &= V[t-1] - (V[t-1] - V_{reset}) / \tau + X[t]    \quad\text{(input as it is)} \\
    S[t] &= \mathrm{Hea}(U[t] - u_{th}) \\
    V[t] &= V_{reset}\, S[t] + U[t]\,(1 - S[t])            \quad\text{(hard reset)} \\
    V[t] &= U[t] - u_{th}\, S[t]                            \quad\text{(soft reset)}

The second form is eq. 4-6 of Spike-driven Transformer V2 (Yao et al., ICLR 2024) with
:math:`\beta = 1 - 1/\tau` and :math:`V_{reset} = 0`: there the decay is applied after the reset
(:math:`H = \beta V`), here before the next charge, which is the same number.
"""

import math

import torch
from torch import Tensor

from ..surrogate import spike


def has_exact_reciprocal(tau: float) -> bool:
    """Whether `tau` is a power of two: then a product with 1 / tau is the quotient, to the bit."""
    return math.frexp(tau)[0] == 0.5


def charge(
    x: Tensor, v: Tensor, tau: float | Tensor, v_reset: float | None, decay_input: bool
) -> Tensor:
    """Integrate the input of one step into the membrane (the two ``U[t]`` above).

    Shape:
        - x, v: ``[B, ...]``
        - returns: the same
    """
    leak = v if not v_reset else v - v_reset
    return v + (x - leak) / tau if decay_input else v - leak / tau + x


def lif(
    x: Tensor,
    v: Tensor | None = None,
    *,
    tau: float | Tensor = 2.0,
    v_threshold: float | Tensor = 1.0,
    v_reset: float | None = 0.0,
    decay_input: bool = True,
    detach_reset: bool = True,
    surrogate: str = 'sigmoid',
    alpha: float = 4.0,
) -> tuple[Tensor, Tensor]:
    """Run a leaky integrate-and-fire neuron over a whole sequence.

    Args:
        x: Input current, one slice a time step.
        v: Membrane potential before the first step; None is rest.
        tau: Membrane time constant in time steps.
        v_threshold: Firing threshold.
        v_reset: Potential after a spike and at rest; None subtracts the threshold instead (soft
            reset) and rests at 0.
        decay_input: Divide the input by `tau` too.
        detach_reset: Keep the reset out of the gradient.
        surrogate: The gradient's form, a key of `surrogate.SLOPES`.
        alpha: The surrogate's sharpness.

    Shape:
        - x: ``[T, B, ...]``
        - v: ``[B, ...]``
        - returns: spikes ``[T, B, ...]`` in {0, 1} and the membrane potential ``[B, ...]`` after
          the last step
    """
    if v is None:
        v = torch.full_like(x[0], v_reset or 0.0)
    spikes = []
    for current in x:
        u = charge(current, v, tau, v_reset, decay_input)
        s = spike(u - v_threshold, surrogate, alpha)
        spikes.append(s)
        reset = s.detach() if detach_reset else s
        v = u - v_threshold * reset if v_reset is None else v_reset * reset + u * (1 - reset)
    return torch.stack(spikes), v
