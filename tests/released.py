"""Stand-ins for the released checkpoints, which cannot be downloaded in a test.

Names and shapes are those of the released files (`data/manifest_<size>.json`); each value is drawn
from a generator seeded with the parameter's name. `data/golden_15m_T*.npz` is what the released
classifier computes from them in double precision.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / 'data'


def _value(name: str, shape: list[int]) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    kind = name.rpartition('.')[2]
    if kind == 'num_batches_tracked':
        return np.array(1, dtype=np.int64)
    if kind == 'running_var':
        return rng.uniform(0.5, 1.5, shape)
    if kind in ('running_mean', 'bias'):
        return rng.normal(0.0 if kind == 'running_mean' else 0.2, 0.2, shape)
    if len(shape) == 1:
        return rng.uniform(0.8, 1.6, shape)
    return rng.normal(0.0, (2.5 / np.prod(shape[1:])) ** 0.5, shape)


def released_checkpoint(size: str, distilled: bool = False) -> dict:
    """The content of a released file, ``torch.load(f)``."""
    manifest = json.loads((DATA / f'manifest_{size}.json').read_text())
    if distilled:
        manifest |= {
            name.replace('head.', 'head_kd.'): shape
            for name, shape in manifest.items()
            if name.startswith('head.')
        }
    return stand_in(manifest)


def stand_in(manifest: dict[str, list[int]]) -> dict:
    """The content of a file whose parameters have these names and shapes."""
    model = {name: torch.from_numpy(np.asarray(_value(name, s))) for name, s in manifest.items()}
    return {'model': model, 'epoch': 199}


def golden_images() -> torch.Tensor:
    """The images behind the golden numbers, ``[2, 3, 64, 96]``."""
    rng = np.random.Generator(np.random.PCG64(20240116))
    return torch.from_numpy(rng.normal(0.0, 1.0, (2, 3, 64, 96)))


def golden(time_steps: int) -> dict:
    """What the released 15M classifier computes at T = `time_steps`."""
    with np.load(DATA / f'golden_15m_T{time_steps}.npz') as file:
        return {name: file[name] for name in file}
