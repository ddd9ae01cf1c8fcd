"""The dynamics of `equations.lif` with a hand-written backward pass.

Autograd through the plain loop keeps half a dozen tensors a step; this keeps the membrane potential
alone and derives the spikes and the slope from it. It exists as a loop, in C++ for a CPU, and
compiled by torch for a GPU.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..compact import Again
from ..surrogate import SLOPES
from . import cpp
from .batch_norm import Normed
from .equations import charge, has_exact_reciprocal
from .inductor import compiled, scan_backward, scan_backward_from_norm, scan_forward


def _charge_into(
    u: Tensor,
    x: Tensor,
    v: Tensor | None,
    tau: float,
    v_reset: float | None,
    decay_input: bool,
) -> Tensor:
    """`equations.charge` into `u`; with None for `v` from rest, where most of it drops out."""
    if v is not None:
        return u.copy_(charge(x, v, tau, v_reset, decay_input))
    torch.div(x, tau if decay_input else 1.0, out=u)
    return u.add_(v_reset) if v_reset else u


class LIFScan(torch.autograd.Function):
    """`equations.lif` as one autograd node.

    The arguments are those of `equations.lif`; returns the spikes, and with `with_state` also the
    membrane potential after the last step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        v: Tensor | None,
        v_threshold: float | Tensor,
        tau: float,
        v_reset: float | None,
        decay_input: bool,
        detach_reset: bool,
        surrogate: str,
        alpha: float,
        with_state: bool,
    ) -> Any:
        ctx.set_materialize_grads(False)
        ctx.options = tau, v_reset, decay_input, detach_reset, surrogate, alpha
        potentials, spikes = torch.empty_like(x), torch.empty_like(x)
        for t, current in enumerate(x):
            u = _charge_into(potentials[t], current, v, tau, v_reset, decay_input)
            torch.ge(u, v_threshold, out=spikes[t])
            if with_state or t < len(x) - 1:
                v = (
                    u - v_threshold * spikes[t]
                    if v_reset is None
                    else u.masked_fill(spikes[t].bool(), v_reset)
                )
        learnt = isinstance(v_threshold, Tensor)
        ctx.v_threshold = None if learnt else v_threshold
        ctx.save_for_backward(potentials, *([v_threshold] if learnt else []))
        return (spikes, v) if with_state else spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor | None, grad_v: Tensor | None = None) -> Any:
        tau, v_reset, decay_input, detach_reset, surrogate, alpha = ctx.options
        potentials, *learnt = ctx.saved_tensors
        v_threshold = learnt[0] if learnt else ctx.v_threshold
        _, needs_v, needs_threshold, *_ = ctx.needs_input_grad
        if grad_spikes is None:
            grad_spikes = torch.zeros_like(potentials)
        grad_x = torch.empty_like(potentials)
        grad_threshold: Any = torch.zeros_like(v_threshold) if needs_threshold else None
        for t in range(len(potentials) - 1, -1, -1):
            u, grad_s = potentials[t], grad_spikes[t]
            if grad_v is not None and not detach_reset:
                grad_s = grad_s - grad_v * (v_threshold if v_reset is None else u - v_reset)
            grad_u = through_spike = SLOPES[surrogate](u - v_threshold, alpha).mul_(grad_s)
            if grad_v is not None:
                fired = u >= v_threshold
                grad_u = grad_u + (grad_v if v_reset is None else grad_v.masked_fill(fired, 0))
            if needs_threshold:
                grad_threshold = grad_threshold - through_spike.sum()
                if grad_v is not None and v_reset is None:
                    grad_threshold = grad_threshold - (grad_v * fired).sum()
            torch.div(grad_u, tau if decay_input else 1.0, out=grad_x[t])
            if t > 0 or needs_v:
                grad_v = grad_u * (1 - 1 / tau)
        return grad_x, grad_v if needs_v else None, grad_threshold, *(None,) * 7


class CppScan(torch.autograd.Function):
    """`LIFScan` from rest at 0 on a CPU, in C++ (`cpp`).

    Spikes are kept in a bit each. Beside them is kept what the potentials are computed from again:
    the input of the norm that `x` came out of, or what computes `x` again, if either is given,
    for others keep these anyway; else `x`. Returns the spikes; `packed` gets the
    `cpp.PackedSpikes` if a gradient is asked for.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        source: Normed | Again | None,
        neuron: cpp.Neuron,
        packed: list[cpp.PackedSpikes],
    ) -> Tensor:
        x = x.contiguous()
        spikes, bits = cpp.run_forward(x.detach(), neuron, ctx.needs_input_grad[0])
        if bits is not None:
            packed.append(bits)
            ctx.neuron = neuron
            ctx.again = None if isinstance(source, Normed) else source
            kept = source if isinstance(source, Normed) else (x,) if source is None else ()
            ctx.save_for_backward(bits.bits, *kept)
            ctx.set_materialize_grads(False)
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor | None) -> Any:
        if grad_spikes is None:
            return (None,) * 4
        bits, *kept = ctx.saved_tensors
        norm = Normed(*kept) if len(kept) == len(Normed._fields) else None
        source = kept[0] if kept else ctx.again()
        return cpp.run_backward(source, norm, bits, grad_spikes, ctx.neuron), None, None, None


class CompiledScan(torch.autograd.Function):
    """`LIFScan` from rest, its loops compiled.

    The arguments are those of `inductor.scan_forward` and `inductor.scan_backward`, and `normed`,
    the norm that x comes out of: then what went into it is kept, which others keep anyway, and not
    the membrane potentials. Returns the spikes twice, the second time in a byte each, or None where
    no gradient is asked for.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        normed: Normed | None,
        v_threshold: float,
        tau: float,
        soft: bool,
        decay_input: bool,
        detach_reset: bool,
        surrogate: str,
        alpha: float,
    ) -> tuple[Tensor, Tensor | None]:
        exact = has_exact_reciprocal(tau)
        ctx.alpha, ctx.options = alpha, (soft, decay_input, exact, detach_reset, surrogate)
        numbers = [torch.tensor(n, dtype=x.dtype, device=x.device) for n in (v_threshold, tau)]
        needed = ctx.needs_input_grad[0]
        spikes, potentials = compiled(
            scan_forward,
            x.detach(),
            *numbers,
            soft,
            decay_input,
            exact,
            needed and not normed,
        )
        if not needed:
            return spikes, None
        fired = spikes.to(torch.bool)
        kept = (*normed, fired.view(torch.uint8)) if normed else (potentials,)
        ctx.save_for_backward(*numbers, *kept)
        ctx.mark_non_differentiable(fired)
        ctx.set_materialize_grads(False)
        return spikes, fired

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor | None, _: None) -> Any:
        if grad_spikes is None:
            return (None,) * 9
        v_threshold, tau, *kept = ctx.saved_tensors
        numbers = v_threshold, tau, torch.full_like(tau, ctx.alpha)
        if len(kept) == 1:
            grad_x = compiled(scan_backward, *kept, grad_spikes, *numbers, *ctx.options)
        else:
            grad_x = compiled(scan_backward_from_norm, *kept, grad_spikes, *numbers, *ctx.options)
        return grad_x, *(None,) * 8
