"""The dynamics in C++ on a CPU: ``lif.cpp``, compiled once for this machine."""

import ctypes
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from .. import build_cpp
from ..build_cpp import TYPES, pointer, size
from .batch_norm import Normed
from .equations import has_exact_reciprocal

SOURCE = Path(__file__).with_name('lif.cpp')
SURROGATES = ('sigmoid', 'arctan', 'rectangle', 'triangle')  # As `lif.cpp` numbers them.


class Neuron(ctypes.Structure):
    """The options of a neuron, as ``lif.cpp`` takes them."""

    _fields_ = [
        *((name, ctypes.c_float) for name in ('threshold', 'tau', 'alpha')),
        *(
            (name, ctypes.c_int32)
            for name in ('soft', 'decay_input', 'exact', 'detach_reset', 'surrogate')
        ),
    ]


def make_neuron(
    v_threshold: float,
    tau: float,
    soft: bool,
    decay_input: bool,
    detach_reset: bool,
    surrogate: str,
    alpha: float,
) -> Neuron:
    """Write the options down for ``lif.cpp``.

    Args:
        v_threshold: Firing threshold.
        tau: Membrane time constant in time steps.
        soft: Subtract the threshold after a spike, instead of a reset to 0.
        decay_input: Divide the input by `tau` too.
        detach_reset: Keep the reset out of the gradient.
        surrogate: The gradient's form, one of `SURROGATES`.
        alpha: The surrogate's sharpness.
    """
    exact = has_exact_reciprocal(tau)
    form = SURROGATES.index(surrogate)
    return Neuron(v_threshold, tau, alpha, soft, decay_input, exact, detach_reset, form)


class PackedSpikes(NamedTuple):
    """Spikes in a bit each.

    Args:
        bits: ``[T, N / 8]``, rounded up, for N spikes a step.
        shape: Of the spikes, time first.
        dtype: Of the spikes.
    """

    bits: Tensor
    shape: torch.Size
    dtype: torch.dtype

    def unpack(self) -> Tensor:
        """Give the spikes back as they were."""
        spikes = torch.empty(self.shape, dtype=self.dtype)
        call = getattr(library(), f'unpack_{TYPES[self.dtype]}')
        call(pointer(self.bits), pointer(spikes), *size(spikes), torch.get_num_threads())
        return spikes


def library() -> ctypes.CDLL | None:
    """Load the compiled ``lif.cpp``; None where it cannot be had."""
    return build_cpp.load(SOURCE)


def serves(x: Tensor, surrogate: str) -> bool:
    """Whether the compiled library can run a sequence and its gradient.

    Args:
        x: The sequence.
        surrogate: The gradient's form, a key of `surrogate.SLOPES`.
    """
    return surrogate in SURROGATES and build_cpp.serves(x) and library() is not None


def run_forward(x: Tensor, neuron: Neuron, keep_spikes: bool) -> tuple[Tensor, PackedSpikes | None]:
    """Run a sequence from rest at 0.

    Args:
        x: The input, in one piece.
        neuron: The options.
        keep_spikes: Return the spikes in a bit each too.

    Shape:
        - x: ``[T, ...]``
        - returns: spikes ``[T, ...]``, and the same packed
    """
    spikes = torch.empty_like(x)
    bits = None
    if keep_spikes:
        bits = torch.empty(len(x), -(-x[0].numel() // 8), dtype=torch.uint8)
    call = getattr(library(), f'forward_{TYPES[x.dtype]}')
    call(*map(pointer, (x, spikes, bits)), *size(x), neuron, torch.get_num_threads())
    return spikes, None if bits is None else PackedSpikes(bits, x.shape, x.dtype)


def run_backward(
    kept: Tensor, norm: Normed | None, bits: Tensor, grad_spikes: Tensor, neuron: Neuron
) -> Tensor:
    """Run backwards through a sequence.

    Args:
        kept: The input, or that of the norm before.
        norm: The norm that the input came out of, if its input is what was kept.
        bits: Which steps fired, as of `PackedSpikes`.
        grad_spikes: The gradient of the spikes.
        neuron: The options.

    Shape:
        - grad_spikes, returns (the gradient of the input): ``[T, ...]``
    """
    kept, grad_spikes = kept.to(grad_spikes.dtype).contiguous(), grad_spikes.contiguous()
    out = torch.empty_like(grad_spikes)
    scale = shift = None
    if norm is not None:
        scale, shift = (value.float().contiguous() for value in (norm.scale, norm.shift))
    columns = scale is not None and scale.dim() == 1
    call = getattr(library(), f'backward_{TYPES[out.dtype]}')
    call(
        *map(pointer, (kept, scale, shift)),
        ctypes.c_int64(kept.shape[-1]),
        int(columns),
        *map(pointer, (bits, grad_spikes, out)),
        *size(out),
        neuron,
        torch.get_num_threads(),
    )
    return out
