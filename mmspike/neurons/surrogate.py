r"""Surrogate gradients: the Heaviside step in the forward pass, a smooth slope in the backward.

With :math:`x = U - u_{th}`, the membrane potential above the threshold, and the sharpness
:math:`\alpha`, each function gives :math:`\partial S / \partial U`:

- sigmoid: :math:`\alpha\, s\,(1 - s)` with :math:`s = \mathrm{sigmoid}(\alpha x)`
- arctan: :math:`(\alpha / 2) / (1 + (\pi \alpha x / 2)^2)`
- rectangle: :math:`\alpha` where :math:`|x| < 1 / (2 \alpha)`, else 0
- triangle: :math:`\max(0,\ \alpha - \alpha^2 |x|)`

Each slope integrates to 1 (Neftci et al., IEEE Signal Processing Magazine 36(6), 2019).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmspike.errors import UserError


def sigmoid_slope(x: Tensor, alpha: float | Tensor) -> Tensor:
    """Derivative of ``sigmoid(alpha * x)``."""
    s = (alpha * x).sigmoid_()
    return (1 - s).mul_(s).mul_(alpha)


def arctan_slope(x: Tensor, alpha: float | Tensor) -> Tensor:
    """Derivative of ``arctan(pi / 2 * alpha * x) / pi + 1 / 2``."""
    return alpha / 2 / (1 + (math.pi / 2 * alpha * x) ** 2)


def rectangle_slope(x: Tensor, alpha: float | Tensor) -> Tensor:
    """A box of height `alpha` and area 1."""
    return alpha * (x.abs() < 0.5 / alpha).to(x.dtype)


def triangle_slope(x: Tensor, alpha: float | Tensor) -> Tensor:
    """A triangle of height `alpha` and area 1."""
    return (alpha - alpha**2 * x.abs()).clamp(min=0)


SLOPES: dict[str, Callable[[Tensor, float | Tensor], Tensor]] = {
    'sigmoid': sigmoid_slope,
    'arctan': arctan_slope,
    'rectangle': rectangle_slope,
    'triangle': triangle_slope,
}
DEFAULT_ALPHA = {'sigmoid': 4.0, 'arctan': 2.0, 'rectangle': 1.0, 'triangle': 1.0}


def leaves_torch() -> bool:
    """Whether a trace or an export, without gradients, must see torch's own operations alone."""
    if torch.is_grad_enabled():
        return False
    exporting = getattr(torch.compiler, 'is_exporting', bool)  # Of torch since 2.7.
    return torch.jit.is_tracing() or exporting()


class _Spike(torch.autograd.Function):
    """Heaviside forward, surrogate slope backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, surrogate: str, alpha: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.surrogate, ctx.alpha = surrogate, alpha
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return grad * SLOPES[ctx.surrogate](x, ctx.alpha), None, None


def spike(x: Tensor, surrogate: str = 'sigmoid', alpha: float = 4.0) -> Tensor:
    """Fire (1) where `x`, the membrane potential above the threshold, is not negative, else 0.

    Args:
        x: Membrane potential minus threshold.
        surrogate: A key of `SLOPES`, the gradient's form.
        alpha: The surrogate's sharpness.

    Shape:
        - x: any
        - returns: the same
    """
    if leaves_torch():
        return (x >= 0).to(x.dtype)
    return _Spike.apply(x, surrogate, alpha)


def parse_surrogate(surrogate: str | dict) -> tuple[str, float]:
    """Read a surrogate's name and sharpness out of a config.

    Args:
        surrogate: A key of `SLOPES`, or a dict of it as ``type``, and of ``alpha``.

    Raises:
        UserError: If it is anything else.
    """
    options: dict[str, Any] = {'type': surrogate} if isinstance(surrogate, str) else dict(surrogate)
    name = options.pop('type', 'sigmoid')
    if name not in SLOPES:
        raise UserError(f'surrogate is {name!r}, but it must be one of {", ".join(SLOPES)}.')
    alpha = options.pop('alpha', DEFAULT_ALPHA[name])
    if options or alpha <= 0:
        raise UserError(
            f'surrogate has alpha={alpha} and further options {sorted(options)}, but it takes a '
            'positive alpha and nothing else.'
        )
    return name, alpha
