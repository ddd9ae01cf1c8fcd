"""Stand-ins for the released checkpoints of E-SpikeFormer, from the folder beside the checkout."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from released import stand_in

REFERENCE = Path(__file__).parents[2] / 'shared' / 'reference' / 'espikeformer'
CONFIGS = Path(__file__).parents[1] / 'configs'


def released(size: str, like: str = '') -> dict:
    """The content of a released file; `like` is ``'_layerscale'`` for one with branch scales."""
    return stand_in(json.loads(_file(f'manifest_{size}{like}.json').read_text()))


def golden(name: str) -> dict[str, np.ndarray]:
    """What the released classifier computes of the images in `released.py`."""
    with np.load(_file(f'golden_{name}.npz')) as file:
        return {key: file[key] for key in file}


def small(**options: object) -> torch.nn.Module:
    """A narrow backbone, in evaluation mode, whose neurons fire."""
    from mmspike.analysis.spike_driven import randomize_norms
    from mmspike.models.backbones import ESpikeFormer

    torch.manual_seed(0)
    arch = dict(dims=(4, 8, 16, 16, 24), depths=(1, 1, 1, 2, 1), heads=4)
    return randomize_norms(ESpikeFormer(**{'arch': arch, **options})).eval()


def _file(name: str) -> Path:
    if not (REFERENCE / name).is_file():
        pytest.skip(f'{name} of ../shared/reference/espikeformer is not there')
    return REFERENCE / name
