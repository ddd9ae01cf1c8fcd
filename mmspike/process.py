"""Settings of the process that make a CPU faster and change no result that matters.

Only the commands make them: importing mmspike changes nothing. OpenMP reads its own when torch is
imported, so torch is imported here inside functions alone.
"""

import ctypes
import gc
import os
import platform
import time
from contextlib import suppress
from typing import Any

from mmspike.errors import UserError

# How often a thread looks for work before it sleeps; docs/performance.md has the measurements.
SPIN_COUNT = 4000
# From malloc.h of glibc.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4

_start: tuple[float, float] | None = None


def spin_briefly() -> None:
    """Let threads of OpenMP that wait for work sleep soon, and begin to watch the cores.

    They spin for milliseconds otherwise, and where anything else wants their core, each parallel
    region waits for a thread that does not run. To be called before torch is imported. What the
    user has set (``GOMP_SPINCOUNT``, ``OMP_WAIT_POLICY``) stays.
    """
    global _start
    if 'OMP_WAIT_POLICY' not in os.environ:
        os.environ.setdefault('GOMP_SPINCOUNT', str(SPIN_COUNT))
    if 'OMP_NUM_THREADS' not in os.environ and os.path.isfile('/proc/stat'):
        _start = time.monotonic(), _seconds_of_others()


def _seconds_of_others() -> float:
    """Add up the seconds that this process's cores have worked for other processes."""
    cores = {f'cpu{core}' for core in os.sched_getaffinity(0)}
    busy = 0
    with open('/proc/stat') as file:
        for name, *ticks in map(str.split, file):
            if name in cores:
                user, nice, system, _idle, _iowait, *interrupts = map(int, ticks[:8])
                busy += user + nice + system + sum(interrupts)
    return busy / os.sysconf('SC_CLK_TCK') - sum(os.times()[:4])


def leave_busy_cores() -> None:
    """Use as many threads as there are cores that other processes leave free.

    A thread that shares its core keeps all others waiting: beside one busy process two threads on
    two cores are slower than one. The cores were watched since `spin_briefly`; without it, or if
    the user has set ``OMP_NUM_THREADS``, the number of threads stays. It is chosen once, for sums
    over other numbers of threads round otherwise.
    """
    if _start is None:
        return
    import torch

    began, before = _start
    others = (_seconds_of_others() - before) / (time.monotonic() - began)
    threads = max(1, torch.get_num_threads() - round(others))
    if threads < torch.get_num_threads():
        print(
            f'Other processes keep {others:.1f} of {len(os.sched_getaffinity(0))} cores busy: '
            f'{threads} thread{"s" * (threads > 1)} here; OMP_NUM_THREADS=N sets another number.'
        )
        torch.set_num_threads(threads)


def use_cpu_well() -> None:
    """Flush denormal numbers to zero, keep freed memory, and leave busy cores to others.

    Surrogate gradients of potentials far from the threshold are denormal numbers, which some CPU
    kernels (RoIAlign's backward) compute a hundred times slower. And glibc returns large blocks to
    the system as they are freed, to get them back as pages to be zeroed: a quarter of the time of a
    Mask R-CNN iteration.
    """
    import numpy as np
    import torch

    for kind in 'efd':
        np.finfo(kind)  # It looks at denormal numbers once, and would warn that they are gone.
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == 'glibc':
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    leave_busy_cores()


def use_launcher(config: Any, launcher: str) -> None:
    """Prepare a config for the processes of a launcher.

    mmengine binds every process to a GPU. Where there is none, the group is opened here, over
    gloo, before mmengine would do it, and the model is wrapped without device ids.

    Args:
        config: The config to complete.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Raises:
        UserError: If the processes were not started the way the launcher expects.
    """
    import torch.distributed
    from mmengine.device import get_device

    config.launcher = launcher
    if launcher == 'none':
        return
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UserError(
            '--launcher pytorch expects to be started by torchrun, which sets RANK; '
            'use tools/dist_train.sh or tools/dist_test.sh.'
        )
    # Batch statistics differ between processes; validation must see the same on all of them.
    add_hook(config, 'SyncBuffersHook')
    if get_device() != 'cpu':
        return
    if launcher != 'pytorch':
        raise UserError(
            f'--launcher {launcher} needs GPUs, and this machine shows none; '
            'use --launcher pytorch on CPUs.'
        )
    config.sync_bn = None  # torch synchronizes batch statistics on GPUs alone.
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=config.get('find_unused_parameters', False),
    )
    config.model_wrapper_cfg = {
        **wrapper,
        **config.get('model_wrapper_cfg', {}),
        'device_ids': None,
    }
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')


def leave_group() -> None:
    """Close the group of processes, if there is one, when all of them have done their work.

    Its threads end with it, and so with the last that holds it, such as a wrapped model in a circle
    of references. A thread of gloo that lets go of a tensor while Python ends aborts the process.
    """
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # All are done here: the first to leave may close the connection while others still wait.
        with suppress(RuntimeError):
            torch.distributed.barrier()
        gc.collect()
        torch.distributed.destroy_process_group()


def add_hook(config: Any, name: str) -> None:
    """Add a hook to a config that has it not yet.

    Args:
        config: The config to complete.
        name: Its type.
    """
    hooks = list(config.get('custom_hooks') or [])
    if not any(hook['type'] == name for hook in hooks):
        config.custom_hooks = [*hooks, dict(type=name)]
