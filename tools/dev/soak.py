#!/usr/bin/env python3
"""Run a tiny model on pictures of random sizes for long, and see whether its memory grows.

    python3 tools/dev/soak.py                       # 1,000 pictures through each of the three
    python3 tools/dev/soak.py mmdet --count 5000
    python3 tools/dev/soak.py --as-is --count 3000  # the process as it is for a user

It prints the resident memory along the way, and fails if after the warm-up it grew by more than
half a picture for each one. So that a few hundred pictures tell, what is no leak is left out: the
allocator gives back what it only keeps, and oneDNN keeps no kernels of shapes. With `--as-is` both
stay, and memory climbs until all shapes came a few times.
"""

import argparse
import ctypes
import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import torch

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = dict(
    mmdet='mask_rcnn_metaspike-tiny_t1_shapes',
    mmseg='semantic_fpn_metaspike-tiny_t1_shapes',
    mmpretrain='metaspike-tiny_t1_shapes',
)
SMALLEST, LARGEST = 32, 256  # Pixels of a side, a multiple of the smallest: 64 shapes.
LIMIT = 0.5  # Of each picture.


def memory(as_is: bool) -> float:
    """Return the resident memory of this process in bytes, less what the allocator only keeps."""
    gc.collect()
    if sys.platform == 'linux' and not as_is:
        getattr(ctypes.CDLL(None), 'malloc_trim', int)(0)  # Of glibc.
    return psutil.Process().memory_info().rss


def soak(
    run: Callable[[np.ndarray], object], count: int, as_is: bool, seed: int = 0
) -> Iterator[tuple[int, float]]:
    """Run on pictures of random sizes.

    Args:
        run: Takes a picture ``[H, W, 3]`` in BGR.
        count: How many pictures; the first third warms up.
        as_is: Count what the allocator only keeps too.
        seed: Of the sizes.

    Yields:
        The number of pictures done and the memory in bytes, twenty times.
    """
    rng = np.random.default_rng(seed)
    sides = LARGEST // SMALLEST
    warm_up, step = count // 3, max((count - count // 3) // 20, 1)
    for number in range(1, count + 1):
        height, width = SMALLEST * rng.integers(1, sides + 1, 2)
        if number <= sides**2:  # Each shape once, the largest first, to warm up.
            height, width = (SMALLEST * (sides - i) for i in divmod(number - 1, sides))
        run(rng.integers(0, 256, (height, width, 3), np.uint8))
        if number > warm_up and (number - warm_up) % step == 0:
            yield number, memory(as_is)


def kept(readings: list[tuple[int, float]]) -> float:
    """Tell how much of each picture the memory has kept, 1 for the whole of it.

    Medians of the first and the last third are compared, as single readings move a little.
    """
    third = max(len(readings) // 3, 1)
    first, last = (np.median(part, axis=0) for part in (readings[:third], readings[-third:]))
    pictures, grown = last - first
    return float(grown / pictures / (3 * ((SMALLEST + LARGEST) / 2) ** 2))


def build(scope: str, folder: Path) -> Callable[[np.ndarray], object]:
    """Build the inferencer of a library's tiny model, with random weights."""
    from mmengine.config import Config

    from mmspike.apis import Inferencer
    from mmspike.hosts.inferencers import HostModel

    config = Config.fromfile(ROOT / 'configs' / f'{CONFIGS[scope]}.py')
    if scope == 'mmdet':
        config.model.test_cfg.rcnn.score_thr = 0.0
        config.model.test_cfg.rcnn.max_per_img = 10
    file = folder / f'{scope}.pth'
    torch.save({'state_dict': HostModel(config, None, 'cpu').model.state_dict()}, file)
    inferencer = Inferencer(config, file, 'cpu')
    return lambda image: inferencer(image, return_vis=True, show_progress=False)


def main() -> int:
    """Soak the libraries' models one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('scopes', nargs='*', help=f'of {", ".join(CONFIGS)}; all by default')
    parser.add_argument('--count', type=int, default=1000, help='how many pictures (default: 1000)')
    parser.add_argument('--as-is', action='store_true', help='leave out nothing that is no leak')
    args = parser.parse_args()
    if not args.as_is:  # Else oneDNN keeps a kernel for each of the last 1,024 shapes.
        os.environ['ONEDNN_PRIMITIVE_CACHE_CAPACITY'] = '0'
    if unknown := [scope for scope in args.scopes if scope not in CONFIGS]:
        parser.error(f'there is no library {unknown[0]!r}; choose from {", ".join(CONFIGS)}')
    torch.set_num_threads(1)
    grew = False
    for scope in args.scopes or [scope for scope in CONFIGS if find_spec(scope)]:
        with tempfile.TemporaryDirectory() as folder:
            run = build(scope, Path(folder))
            readings = []
            for number, value in soak(run, args.count, args.as_is):
                readings.append((number, value))
                print(f'{scope}: {number} pictures, {value / 1e6:.1f} MB', flush=True)
        share = kept(readings)
        print(f'{scope}: {share:.3f} of each picture stayed in memory (limit {LIMIT})', flush=True)
        grew = grew or share > LIMIT
    return int(grew)


if __name__ == '__main__':
    sys.exit(main())
