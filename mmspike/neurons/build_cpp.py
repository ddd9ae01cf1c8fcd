"""Compile a C++ source of neurons once for this machine, and keep it in the user's cache.

Compiling takes a few seconds. Where there is no compiler the plain loops run, and the log says it
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

import torch
from mmengine.logging import print_log
from torch import Tensor

# No reordering of sums and products: spikes are those of the plain loop, to the bit.
FLAGS = (
    *('-O3', '-march=native', '-std=c++17', '-fPIC', '-shared'),
    *('-ffp-contract=off', '-fno-math-errno', '-fno-trapping-math'),
)
COMMON = Path(__file__).with_name('common.h')  # What every source includes.
TYPES = {torch.float32: 'float32', torch.bfloat16: 'bfloat16'}


def serves(x: Tensor) -> bool:
    """Whether C++ can run a sequence and its gradient.

    Something that traces the model (torch.compile, torch.export, torch.jit.trace) must see torch's
    own operations; a tensor without memory has nothing to point at.

    Args:
        x: The sequence.
    """
    return (
        x.device.type == 'cpu'
        and x.dtype in TYPES
        and type(x) in (Tensor, torch.nn.Parameter)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
    )


def pointer(x: Tensor | None) -> ctypes.c_void_p:
    """Point at the memory of a contiguous tensor; None is a null pointer."""
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def size(x: Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    """Give the steps and the neurons of a sequence ``[T, ...]``."""
    return ctypes.c_int64(len(x)), ctypes.c_int64(x[0].numel())


def count_spikes(library: ctypes.CDLL, x: Tensor, neuron: ctypes.Structure) -> Tensor:
    """Run a sequence from rest; return counts of spikes in a byte each.

    Args:
        library: The compiled neuron.
        x: The sequence, ``[T, ...]``.
        neuron: The options, as the library takes them.
    """
    x = x.contiguous()
    counts = torch.empty(x.shape, dtype=torch.uint8)
    call = getattr(library, f'counts_{TYPES[x.dtype]}')
    call(pointer(x), pointer(counts), *size(x), neuron, torch.get_num_threads())
    return counts


@lru_cache
def load(source: Path) -> ctypes.CDLL | None:
    """Load a compiled source; None where it cannot be had, which is said once in the log.

    Args:
        source: The C++ file.
    """
    try:
        return ctypes.CDLL(str(_compile(source)))
    except (OSError, subprocess.SubprocessError) as error:
        lines = (getattr(error, 'stderr', None) or str(error)).strip().splitlines()
        print_log(
            'neurons run as plain loops, which are slower, as their C++ could not be '
            f'compiled here: {lines[0] if lines else type(error).__name__}',
            logger='current',
            level=logging.WARNING,
        )
        return None


def _compile(source: Path) -> Path:
    """Compile a source unless the cache has it for this compiler and processor."""
    compiler = os.environ.get('CXX') or next(filter(shutil.which, ('c++', 'g++', 'clang++')), 'c++')
    version = subprocess.run(
        [*compiler.split(), '--version'], capture_output=True, text=True, check=True
    ).stdout
    texts = source.read_text(), COMMON.read_text()
    about = (*texts, *FLAGS, compiler, version, torch.__version__, _processor())
    key = hashlib.sha256('\n'.join(about).encode()).hexdigest()[:16]
    folder = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'mmspike', 'neurons')
    target = folder / f'{source.stem}-{key}.so'
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
            command = [*compiler.split(), *FLAGS, f'-I{COMMON.parent}', str(source)]
            command += ['-o', partial, *threads]
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
