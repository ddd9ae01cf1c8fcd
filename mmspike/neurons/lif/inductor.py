"""The dynamics as loops for torch.compile, which makes Triton kernels of them on a GPU.

Thresholds and the like come as tensors without dimensions, so that one compilation serves all their
values; only the form of the neuron, the number of time steps and the precision need another.
"""

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..surrogate import SLOPES


def _divided(x: Tensor, tau: Tensor, exact: bool) -> Tensor:
    """`x` by `tau`; where the reciprocal is exact, a product costs a quarter of a division."""
    return x * (1 / tau) if exact else x / tau


def _charged(x: Tensor, v: Tensor | None, tau: Tensor, decay_input: bool, exact: bool) -> Tensor:
    """The sums of `equations.charge`; None for `v` is rest at 0."""
    if v is None:
        return _divided(x, tau, exact) if decay_input else x.clone()
    return v + _divided(x - v, tau, exact) if decay_input else v - _divided(v, tau, exact) + x


def scan_forward(
    x: Tensor,
    v_threshold: Tensor,
    tau: Tensor,
    soft: bool,
    decay_input: bool,
    exact: bool,
    keep: bool,
) -> tuple[Tensor, Tensor | None]:
    """Run a whole sequence from rest at 0.

    Args:
        x: The input.
        v_threshold: Firing threshold.
        tau: Membrane time constant in time steps.
        soft: Subtract the threshold after a spike, instead of a reset to 0.
        decay_input: Divide the input by `tau` too.
        exact: Whether the reciprocal of `tau` is exact, as of a power of two.
        keep: Return the membrane potentials.

    Shape:
        - x: ``[T, ...]``
        - returns: spikes, and membrane potentials before the reset or None, ``[T, ...]``
    """
    spikes, potentials, v = [], [], None
    for current in x.unbind():
        u = _charged(current, v, tau, decay_input, exact)
        fired = u >= v_threshold
        spikes.append(fired.to(x.dtype))
        potentials.append(u)
        v = u - v_threshold * spikes[-1] if soft else u.masked_fill(fired, 0)
    return torch.stack(spikes), torch.stack(potentials) if keep else None


def scan_backward(
    potentials: Tensor | list[Tensor],
    grad_spikes: Tensor,
    v_threshold: Tensor,
    tau: Tensor,
    alpha: Tensor,
    soft: bool,
    decay_input: bool,
    exact: bool,
    detach_reset: bool,
    surrogate: str,
    silent: list[Tensor] | None = None,
) -> Tensor:
    """Run backwards through a sequence.

    Args:
        potentials: As `scan_forward` returns them.
        grad_spikes: The gradient of its spikes.
        v_threshold: Firing threshold.
        tau: Membrane time constant in time steps.
        alpha: The surrogate's sharpness.
        soft: As of `scan_forward`.
        decay_input: As of `scan_forward`.
        exact: As of `scan_forward`.
        detach_reset: Keep the reset out of the gradient.
        surrogate: The gradient's form, a key of `surrogate.SLOPES`.
        silent: 1 where a step did not fire, else 0; None finds it in the potentials.

    Shape:
        - potentials, grad_spikes, silent, returns (the gradient of the input): ``[T, ...]``
    """
    grads, grad_v = [], None
    for t in range(len(potentials) - 1, -1, -1):
        u, grad_s = potentials[t], grad_spikes[t]
        if grad_v is not None and not detach_reset:
            grad_s = grad_s - grad_v * (v_threshold if soft else u)
        grad_u = SLOPES[surrogate](u - v_threshold, alpha) * grad_s
        if grad_v is not None and soft:
            grad_u = grad_u + grad_v
        elif grad_v is not None and silent is None:
            grad_u = grad_u + grad_v.masked_fill(u >= v_threshold, 0)
        elif grad_v is not None and silent is not None:
            grad_u = grad_u + grad_v * silent[t]
        grads.append(_divided(grad_u, tau, exact) if decay_input else grad_u)
        grad_v = grad_u * (1 - 1 / tau)
    return torch.stack(grads[::-1])


def scan_backward_from_norm(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    fired: Tensor,
    grad_spikes: Tensor,
    v_threshold: Tensor,
    tau: Tensor,
    alpha: Tensor,
    soft: bool,
    decay_input: bool,
    exact: bool,
    detach_reset: bool,
    surrogate: str,
) -> Tensor:
    """Run backwards through a sequence that came out of a norm, from what went into the norm.

    The membrane potentials are computed again. Which steps fired is not: a rounding that differs
    by one bit must not move a spike.

    Args:
        x: The norm's input, in any precision.
        scale: The norm is ``x * scale + shift``.
        shift: As `scale`.
        fired: The spikes, 0 and 1 in a byte each. Masks made of them are products, which the
            compiled code does several values at a time.
        grad_spikes: As of `scan_backward`, as are those that follow.

    Shape:
        - x, fired, grad_spikes, returns: ``[T, ...]``
        - scale, shift: such that they broadcast
    """
    potentials, silent, v = [], [], None
    for t in range(len(x)):
        current = (x[t].to(scale.dtype) * scale + shift).to(grad_spikes.dtype)
        u = _charged(current, v, tau, decay_input, exact)
        potentials.append(u)
        silent.append(1 - fired[t].to(u.dtype))
        v = u - v_threshold * (1 - silent[t]) if soft else u * silent[t]
    return scan_backward(
        potentials,
        grad_spikes,
        v_threshold,
        tau,
        alpha,
        soft,
        decay_input,
        exact,
        detach_reset,
        surrogate,
        silent,
    )


@lru_cache
def _compile(function: Callable) -> Callable:
    return torch.compile(function, dynamic=True)


_broken: list[str] = []


def compiled(function: Callable, *args: Any) -> Any:
    """Call `scan_forward` or `scan_backward` as compiled, or as it is where that is not possible.

    What stands in the way, such as a machine without a C++ compiler, is said once in the log.

    Args:
        function: The function.
        args: Its arguments.
    """
    if _broken:
        return function(*args)
    try:
        return _compile(function)(*args)
    except Exception as error:  # Whatever a compiler may raise: the plain loop gives the answer.
        _broken.append(str(error))
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        print_log(
            f'neurons run uncompiled, as torch.compile does not work here: {reason}',
            logger='current',
            level=logging.WARNING,
        )
        return function(*args)
