"""The dynamics in C++ on a CPU: ``lif.cpp``, compiled once for this machine and kept in the cache.

Compiling takes a few seconds. Where there is no compiler the plain loop runs, and the log says it
once.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor

from .batch_norm import Normed
from .equations import has_exact_reciprocal

SOURCE = Path(__file__).with_name('lif.cpp')
# No reordering of sums and products: spikes are those of the plain loop, to the bit.
FLAGS = (
    *('-O3', '-march=native', '-std=c++17', '-fPIC', '-shared'),
    *('-ffp-contract=off', '-fno-math-errno', '-fno-trapping-math'),
)
SURROGATES = ('sigmoid', 'arctan', 'rectangle', 'triangle')  # As `lif.cpp` numbers them.
TYPES = {torch.float32: 'float32', torch.bfloat16: 'bfloat16'}


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
        call(_pointer(self.bits), _pointer(spikes), *_size(spikes), torch.get_num_threads())
        return spikes


def serves(x: Tensor, surrogate: str) -> bool:
    """Whether the compiled library can run a sequence and its gradient.

    Something that traces the model (torch.compile, torch.export, torch.jit.trace) must see torch's
    own operations; a tensor without memory has nothing to point at.

    Args:
        x: The sequence.
        surrogate: The gradient's form, a key of `surrogate.SLOPES`.
    """
    return (
        surrogate in SURROGATES
        and x.device.type == 'cpu'
        and x.dtype in TYPES
        and type(x) in (Tensor, torch.nn.Parameter)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and library() is not None
    )


def run_forward(
    x: Tensor, neuron: Neuron, keep_potentials: bool, keep_spikes: bool
) -> tuple[Tensor, Tensor | None, PackedSpikes | None]:
    """Run a sequence from rest at 0.

    Args:
        x: The input.
        neuron: The options.
        keep_potentials: Return the membrane potentials before the reset.
        keep_spikes: Return the spikes in a bit each too.

    Shape:
        - x: ``[T, ...]``
        - returns: spikes and potentials ``[T, ...]``
    """
    x = x.contiguous()
    spikes = torch.empty_like(x)
    potentials = torch.empty_like(x) if keep_potentials else None
    bits = None
    if keep_spikes:
        bits = torch.empty(len(x), -(-x[0].numel() // 8), dtype=torch.uint8)
    call = getattr(library(), f'forward_{TYPES[x.dtype]}')
    pointers = map(_pointer, (x, spikes, potentials, bits))
    call(*pointers, *_size(x), neuron, torch.get_num_threads())
    return spikes, potentials, None if bits is None else PackedSpikes(bits, x.shape, x.dtype)


def run_backward(
    kept: Tensor, norm: Normed | None, bits: Tensor, grad_spikes: Tensor, neuron: Neuron
) -> Tensor:
    """Run backwards through a sequence.

    Args:
        kept: The potentials that `run_forward` returned, or the input of the norm.
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
        *map(_pointer, (kept, scale, shift)),
        ctypes.c_int64(kept.shape[-1]),
        int(columns),
        *map(_pointer, (bits, grad_spikes, out)),
        *_size(out),
        neuron,
        torch.get_num_threads(),
    )
    return out


def _pointer(x: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def _size(x: Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    return ctypes.c_int64(len(x)), ctypes.c_int64(x[0].numel())


@lru_cache
def library() -> ctypes.CDLL | None:
    """Load the compiled library; None where it cannot be had, which is said once in the log."""
    try:
        return ctypes.CDLL(str(_compile()))
    except (OSError, subprocess.SubprocessError) as error:
        lines = (getattr(error, 'stderr', None) or str(error)).strip().splitlines()
        print_log(
            'neurons run as plain loops, which are slower, as their C++ could not be '
            f'compiled here: {lines[0] if lines else type(error).__name__}',
            logger='current',
            level=logging.WARNING,
        )
        return None


def _compile() -> Path:
    """Compile ``lif.cpp`` unless the cache has it for this compiler and processor."""
    compiler = os.environ.get('CXX') or next(filter(shutil.which, ('c++', 'g++', 'clang++')), 'c++')
    version = subprocess.run(
        [*compiler.split(), '--version'], capture_output=True, text=True, check=True
    ).stdout
    about = (SOURCE.read_text(), *FLAGS, compiler, version, torch.__version__, _processor())
    key = hashlib.sha256('\n'.join(about).encode()).hexdigest()[:16]
    folder = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'mmspike', 'neurons')
    target = folder / f'lif-{key}.so'
    if target.is_file():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(suffix='.so', dir=folder)
    except OSError:  # A home that cannot be written: for this process alone.
        folder = Path(tempfile.mkdtemp(prefix='mmspike-'))
        target = folder / target.name
        handle, partial = tempfile.mkstemp(suffix='.so', dir=folder)
    os.close(handle)
    try:
        for threads in (['-fopenmp', *_openmp_of_torch()], []):
            command = [*compiler.split(), *FLAGS, str(SOURCE), '-o', partial, *threads]
            done = subprocess.run(command, capture_output=True, text=True, check=not threads)
            if not done.returncode:
                break
        os.replace(partial, target)
    finally:
        Path(partial).unlink(missing_ok=True)
    return target


def _openmp_of_torch() -> list[str]:
    """Name the OpenMP library that torch brings: two of them would fight for the processors."""
    found = sorted(Path(torch.__file__).with_name('lib').glob('libgomp*.so*'))
    return [str(found[0])] if found else []


def _processor() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(('flags', 'Features'))), '')
