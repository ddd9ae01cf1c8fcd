"""Pictures as the loader hands them out: what no check can know, a look at them shows."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from mmspike.commands.pictures import draw_enlarged, write_sheet

COUNT, COLUMNS = 4, 2


def draw_loaded(runner: Runner, split: str) -> Path | None:
    """Draw a few pictures of a dataset with their objects or label maps, after all transforms.

    Args:
        runner: A runner with a visualizer of mmdet or mmseg.
        split: ``train``, ``val`` or ``test``.

    Returns:
        The path of the sheet in the folder of the log, or None: for a dataset of neither objects
        nor label maps, of other than images of three channels in whole numbers, with a visualizer
        that draws none, or on another process than the first.
    """
    dataset = getattr(runner, f'{split}_dataloader').dataset
    draws = type(runner.visualizer).add_datasample is not Visualizer.add_datasample
    if not draws or not is_main_process() or not hasattr(dataset, '__len__'):
        return None
    runner.visualizer.dataset_meta = getattr(dataset, 'metainfo', {})
    with _own_random_numbers():
        samples = [dataset[i] for i in range(0, len(dataset), -(-len(dataset) // COUNT))]
    path = Path(runner.log_dir, f'{split}_data.png')
    tiles = [tile for sample in samples if (tile := _draw(runner, sample, path)) is not None]
    return write_sheet(tiles, COLUMNS, path) if tiles else None


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Give back the random numbers that transforms draw inside."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _draw(runner: Runner, sample: Any, path: Path) -> np.ndarray | None:
    if not isinstance(sample, dict) or not isinstance(sample.get('data_samples'), BaseDataElement):
        return None
    image, truth = sample['inputs'], sample['data_samples']
    if not isinstance(image, torch.Tensor) or image.dtype != torch.uint8 or len(image) != 3:
        return None
    if 'gt_instances' not in truth and 'gt_sem_seg' not in truth:
        return None
    rgb = np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1])
    return draw_enlarged(runner.visualizer, rgb, truth, None, path, draw_pred=False)
