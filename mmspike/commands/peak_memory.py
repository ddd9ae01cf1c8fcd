"""The memory that a function needs at its peak, above that of the process before it."""

import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import psutil
import torch

from mmspike.errors import UserError

INTERVAL = 0.005  # Seconds from one look to the next.


def peak_above_idle(make_run: Callable[..., Callable[[], None]], args: tuple, device: str) -> float:
    """Measure in a process of its own, which nothing else has filled before.

    On a GPU it is what torch allocates there, on a CPU the resident memory of the process.

    Args:
        make_run: Builds what is to be measured, and returns a function that runs it.
        args: Its arguments.
        device: Where it runs.

    Returns:
        The peak of two runs in MiB.

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
    run = make_run(*args)
    if device.startswith('cuda'):
        idle = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        run()
        peak = torch.cuda.max_memory_allocated(device)
    else:
        idle, peak = _resident_peak(run)
    sender.send((peak - idle) / 2**20)


def _resident_peak(run: Callable[[], None]) -> tuple[int, int]:
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
    return idle, max(peak, process.memory_info().rss)
