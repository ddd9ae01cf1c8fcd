"""The dynamics as plain loops for torch.compile: C++ on a CPU, Triton on a GPU.

Thresholds and the like come as tensors without dimensions, so that one compilation serves all their
values; only the form of the neuron, the number of time steps and the precision need another.
"""

import logging
from collections.abc import Callable
from functools import lru_cache

import torch
from mmengine.logging import print_log
from torch import Tensor

from .functional import charge
from .surrogate import SLOPES


def scan_forward(
    x: Tensor, v_threshold: Tensor, tau: Tensor, soft: bool, decay_input: bool, keep: bool
) -> tuple[Tensor, Tensor | None]:
    """Run a whole sequence from rest at 0.

    Args:
        x: The input.
        v_threshold: Firing threshold.
        tau: Membrane time constant in time steps.
        soft: Subtract the threshold after a spike, instead of a reset to 0.
        decay_input: Divide the input by `tau` too.
        keep: Return the membrane potentials.

    Shape:
        - x: ``[T, N]``
        - returns: spikes, and membrane potentials before the reset or None, ``[T, N]``
    """
    spikes, potentials, v = [], [], None
    for current in x.unbind():
        if v is None:
            u = current / tau if decay_input else current.clone()
        else:
            u = charge(current, v, tau, None, decay_input)
        fired = u >= v_threshold
        spikes.append(fired.to(x.dtype))
        potentials.append(u)
        v = u - v_threshold * spikes[-1] if soft else u.masked_fill(fired, 0)
    return torch.stack(spikes), torch.stack(potentials) if keep else None


def scan_backward(
    potentials: Tensor,
    grad_spikes: Tensor,
    v_threshold: Tensor,
    tau: Tensor,
    alpha: Tensor,
    soft: bool,
    decay_input: bool,
    detach_reset: bool,
    surrogate: str,
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
        detach_reset: Keep the reset out of the gradient.
        surrogate: The gradient's form, a key of `surrogate.SLOPES`.

    Shape:
        - potentials, grad_spikes, returns (the gradient of the input): ``[T, N]``
    """
    grads, grad_v = [], None
    steps = zip(potentials.unbind()[::-1], grad_spikes.unbind()[::-1], strict=True)
    for u, grad_s in steps:
        if grad_v is not None and not detach_reset:
            grad_s = grad_s - grad_v * (v_threshold if soft else u)
        grad_u = SLOPES[surrogate](u - v_threshold, alpha) * grad_s
        if grad_v is not None:
            grad_u = grad_u + (grad_v if soft else grad_v.masked_fill(u >= v_threshold, 0))
        grads.append(grad_u / tau if decay_input else grad_u)
        grad_v = grad_u * (1 - 1 / tau)
    return torch.stack(grads[::-1])


@lru_cache
def _compile(function: Callable) -> Callable:
    return torch.compile(function, dynamic=True)


_broken: list[str] = []


def compiled(function: Callable, *args) -> object:
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
