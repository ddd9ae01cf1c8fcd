"""The memory that a function needs at its peak, above that of the process before it."""

import multiprocessing
import threading
import time
from collections.abc import Callable
from itertools import accumulate
from multiprocessing.connection import Connection

import psutil
import torch

from mmspike.errors import UserError
from mmspike.process import use_cpu_well

INTERVAL = 0.005  # Seconds from one look to the next.


def peak_above_idle(
    make_run: Callable[..., Callable[[], None]], args: tuple, device: str
) -> dict[str, float]:
    """Measure in a process of its own, which nothing else has filled before.

    Args:
        make_run: Builds what is to be measured, and returns a function that runs it.
        args: Its arguments.
        device: Where it runs.

    Returns:
        Peaks in MiB: ``'allocated'``, what torch holds in tensors at once, and on a CPU
        ``'resident'``, by how much the process grew in two runs. There it grows by more than it
        allocates: memory that was freed is kept in pieces that do not fit what comes next.

    Raises:
        UserError: If the process ended without an answer, as where memory runs out.
    """
    context = multiprocessing.get_context('spawn')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, make_run, args, device))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError as error:
        raise UserError(
            'the process that measures memory ended before its answer, and said why above; try a '
            'smaller --size or --batch.'
        ) from error
    finally:
        process.join()


def _measure(sender: Connection, make_run: Callable, args: tuple, device: str) -> None:
    if not device.startswith('cuda'):
        use_cpu_well()  # As the commands run.
    run = make_run(*args)
    if device.startswith('cuda'):
        idle = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        run()
        peaks = {'allocated': torch.cuda.max_memory_allocated(device) - idle}
    else:
        peaks = {'resident': _resident_peak(run), 'allocated': _allocated_peak(run)}
    sender.send({name: peak / 2**20 for name, peak in peaks.items()})


def _allocated_peak(run: Callable[[], None]) -> int:
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        run()
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == '[memory]')
    return max(accumulate(change for _, change in changes), default=0)


def _resident_peak(run: Callable[[], None]) -> int:
    process = psutil.Process()
    idle = peak = process.memory_info().rss
    done = threading.Event()

    def look() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, process.memory_info().rss)
            time.sleep(INTERVAL)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        run()
        run()
    finally:
        done.set()
        thread.join()
    return max(peak, process.memory_info().rss) - idle
