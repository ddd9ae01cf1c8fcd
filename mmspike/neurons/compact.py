"""What autograd keeps in place of a tensor: a smaller form, or what computes it again.

A tensor that has such a form carries it along, in the attribute ``compact``: a function of the
tensor that returns a function without arguments, which gives the tensor again. An operation in
place makes it another tensor, as its version tells, and the form is void.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

Again = Callable[[], Tensor]


def set_compact(x: Tensor, compact: Callable[[Tensor], Again]) -> Tensor:
    """Let a tensor carry its compact form along.

    Args:
        x: The tensor.
        compact: Makes the form of the tensor that it is given; must not hold on to `x` itself.

    Returns:
        The tensor.
    """
    x.compact = compact, x._version  # type: ignore[attr-defined]  # It rides along.
    return x


def keep(x: Tensor) -> Again:
    """Keep a tensor itself as what gives it again, without its graph.

    Returns:
        What gives it, and raises torch's error if an operation in place has changed it since.
    """
    x, version = x.detach(), x._version

    def give() -> Tensor:
        if x._version != version:
            raise RuntimeError(
                'one of the variables needed for gradient computation has been modified by an '
                f'inplace operation: {tuple(x.shape)} is at version {x._version}, not {version}.'
            )
        return x

    return give


def again(x: Tensor) -> Again | None:
    """Make the compact form of a tensor.

    Returns:
        A function that gives the tensor again; None if it has no compact form, has changed since
        it got one, or nothing asks for a gradient.
    """
    if not torch.is_grad_enabled() or not hasattr(x, 'compact'):
        return None
    compact, version = x.compact
    return compact(x) if x._version == version else None


def share(x: Tensor) -> Tensor:
    """Let all that keep the compact form of a tensor compute it again once."""
    form = again(x)
    if form is None:
        return x
    made: list[Tensor] = []

    def give() -> Tensor:
        if not made:
            made.append(form())
        return made[0]

    return set_compact(x, lambda _: give)


def derive(function: Callable[[Tensor], Tensor], x: Tensor, out: Tensor | None = None) -> Tensor:
    """Run a cheap function whose result is computed again, where the argument can be had again.

    Args:
        function: What to run.
        x: Its argument.
        out: The result, where it is known.

    Returns:
        The result.
    """
    form = again(x)
    out = function(x) if out is None else out
    return out if form is None else set_compact(out, lambda _: lambda: function(form()))


def compactly(*tensors: Tensor) -> AbstractContextManager:
    """Let autograd keep compact forms wherever it would keep the tensors.

    Args:
        tensors: What layers inside the context save. Those without a compact form are saved as
            they are.
    """
    forms = {(x.data_ptr(), x.shape): form for x in tensors if (form := again(x))}
    if not forms:
        return nullcontext()

    def pack(x: Tensor) -> Tensor | Again:
        return forms.get((x.data_ptr(), x.shape), x)

    def unpack(x: Tensor | Again) -> Tensor:
        return x if isinstance(x, Tensor) else x()

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)
