"""Integer neurons in C++ on a CPU: ``integer.cpp``, compiled once for this machine."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import build_cpp
from .build_cpp import TYPES, pointer, size

SOURCE = Path(__file__).with_name('integer.cpp')


class IntegerNeuron(ctypes.Structure):
    """The options of a neuron, as ``integer.cpp`` takes them."""

    _fields_ = [
        *((name, ctypes.c_float) for name in ('levels', 'decay', 'threshold', 'unit')),
        ('exact', ctypes.c_int32),
    ]


def library() -> ctypes.CDLL | None:
    """Load the compiled ``integer.cpp``; None where it cannot be had."""
    return build_cpp.load(SOURCE)


def serves(x: Tensor) -> bool:
    """Whether the compiled library can run a sequence and its gradient."""
    return build_cpp.serves(x) and library() is not None


class CppIntegerScan(torch.autograd.Function):
    """`integer.integer_lif` from rest, its counts times the unit.

    `packed` gets a function that gives the spikes once more, if a gradient is asked for.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, neuron: IntegerNeuron, packed: list[Callable]) -> Tensor:
        x = x.detach().contiguous()
        spikes = torch.empty_like(x)
        counts = bits = None
        if ctx.needs_input_grad[0]:
            counts = torch.empty(x.shape, dtype=torch.uint8)
            bits = torch.empty(len(x), -(-x[0].numel() // 8), dtype=torch.uint8)
        _call('forward', x, *map(pointer, (x, spikes, counts, bits)), *size(x), neuron)
        if counts is not None:
            ctx.neuron = neuron
            ctx.save_for_backward(bits)
            packed.append(lambda: _unpack(counts, x.dtype, neuron.unit))
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (bits,) = ctx.saved_tensors
        grad = grad.contiguous()
        out = torch.empty_like(grad)
        _call('backward', grad, *map(pointer, (bits, grad, out)), *size(grad), ctx.neuron)
        return out, None, None


def _unpack(counts: Tensor, dtype: torch.dtype, unit: float) -> Tensor:
    spikes = torch.empty(counts.shape, dtype=dtype)
    total = ctypes.c_int64(counts.numel())
    _call('unpack', spikes, pointer(counts), pointer(spikes), total, ctypes.c_float(unit))
    return spikes


def _call(name: str, like: Tensor, *args: Any) -> None:
    """Call the function of a name for the precision of a tensor."""
    getattr(library(), f'{name}_{TYPES[like.dtype]}')(*args, torch.get_num_threads())
