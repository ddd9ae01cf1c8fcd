"""Settings of the process that make a CPU faster and change no result that matters.

Only the commands make them: importing mmspike changes nothing. OpenMP reads its own when torch is
imported, so torch is imported here inside functions alone.
"""

import ctypes
import os
import platform
import time

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
