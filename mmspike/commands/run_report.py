"""What a run does on what, and where its results are: a few lines on the console and in the log."""

import os
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmspike.checks.data import inner_datasets
from mmspike.checks.weights import unwrap


class RunReport:
    """Says on the console, and in the log, what a runner does on what, and where results are.

    Args:
        runner: The runner, built.
        doing: ``'Training'`` or ``'Testing'``.
        **places: Further results and where they go.
    """

    def __init__(self, runner: Runner, doing: str, **places: str | None) -> None:
        self.runner, self.trains, self.start = runner, doing == 'Training', time.monotonic()
        self.log = _short(os.path.join(runner.log_dir, f'{runner.timestamp}.log'))
        runner.logger.info(f'{doing} {_describe(unwrap(runner.model))} on {_device()}')
        places = {'results': runner.work_dir, **places, 'full log': f'{self.log} (-v: here too)'}
        for name, place in places.items():
            if place:
                self._line(name, _short(place))

    def data(self, split: str, loader: DataLoader) -> None:
        """Say what a split is made of.

        Args:
            split: ``'train'``, ``'val'`` or ``'test'``.
            loader: Its dataloader.
        """
        count = len(loader.dataset) if hasattr(loader.dataset, '__len__') else 'a stream of'
        parts = list(inner_datasets(loader.dataset))
        kinds = ', '.join(dict.fromkeys(type(part).__name__ for part in parts))
        sources = ', '.join(filter(None, map(_source, parts)))
        self._line(f'{split} data', f'{count} samples of {kinds}: {sources}')

    def pictures(self, path: Path | None) -> None:
        """Say where pictures as they are loaded are drawn.

        Args:
            path: The sheet; None if there is none.
        """
        if path:
            self._line('as loaded', f'{_short(str(path))} (look whether boxes and masks fit)')

    def length(self) -> None:
        """Say how long training will be."""
        loop, loader = self.runner.train_loop, self.runner.train_dataloader
        text = f'{loop.max_iters} iterations'
        if isinstance(loop, EpochBasedTrainLoop):
            text = f'{loop.max_epochs} epochs of {len(loader)} iterations'
        size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
        text += f', batches of {size}' if size else ''
        text += f' in each of {get_world_size()} processes' if get_world_size() > 1 else ''
        self._line('length', text)

    def done(self) -> None:
        """Say that the run is over, and where what it left is."""
        runner = self.runner
        runner.logger.info(f'Done after {(time.monotonic() - self.start) / 60:.1f} minutes')
        noted = Path(runner.work_dir, 'last_checkpoint')
        if self.trains and noted.is_file():
            self._line('checkpoint', _short(noted.read_text().strip()))
        if best := runner.message_hub.runtime_info.get('best_ckpt'):
            self._line('the best', _short(best))
        self._line('full log', self.log)

    def _line(self, name: str, text: str) -> None:
        self.runner.logger.info(f'  {name:12}{text}')


def _describe(model: torch.nn.Module) -> str:
    backbone: Any = getattr(model, 'backbone', None)
    about = [type(backbone).__name__] if backbone is not None else []
    if hasattr(backbone, 'time_steps'):
        about.append(f'T = {backbone.time_steps}')
    count = sum(parameter.numel() for parameter in model.parameters())
    about.append(f'{count / 1e6:.3g} M parameters')
    return f'{type(model).__name__} ({", ".join(about)})'


def _device() -> str:
    if get_device() == 'cuda':
        return torch.cuda.get_device_name()
    return 'the CPU' if get_device() == 'cpu' else get_device()


def _source(dataset: Any) -> str:
    prefix = getattr(dataset, 'data_prefix', None) or {}
    places = prefix.values() if isinstance(prefix, dict) else [prefix]
    return _short(str(getattr(dataset, 'ann_file', '') or next(iter(places), '') or ''))


def _short(path: str) -> str:
    """Name a path from the current folder if it lies below."""
    if not os.path.isabs(path):
        return path
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative
