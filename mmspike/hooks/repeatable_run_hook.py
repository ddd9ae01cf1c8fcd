"""Let a run with a fixed seed go the same way whether it is interrupted or not."""

import random
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmspike.registry import HOOKS

# What the random numbers are for; the counter tells which epoch, batch or step.
EPOCH, BATCH, STEP = range(3)


@HOOKS.register_module()
class RepeatableRunHook(Hook):
    """Derive all random numbers of training from the seed and the place in the run.

    A checkpoint does not hold the state of the random number generators, nor that of the data
    loader's processes, and validation in between moves both. So every epoch, batch and iteration
    begins with generators of its own. In a loop over epochs the loader's processes start anew with
    every epoch, whatever ``persistent_workers`` says; in a loop over iterations mmengine goes
    through the batches before the resumed one.

    Without a seed in the config's ``randomness`` it does nothing.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed this process and those that will load the epoch's batches.

        Args:
            runner: The runner in training.
        """
        if not _has_seed(runner):
            return
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop):
            # Processes that live on would carry their random numbers over to the next epoch.
            loop.dataloader._iterator = None
            loader, init = loop.dataloader, loop.dataloader.worker_init_fn
            if isinstance(init, partial) and 'seed' in init.keywords:
                loader.worker_init_fn = partial(init, seed=_derive(runner.seed, EPOCH, loop.epoch))
        elif not isinstance(getattr(loop, 'dataloader_iterator', None), SeededBatches | None):
            loop.dataloader_iterator = SeededBatches(loop.dataloader_iterator, runner.seed)
        seed_all(runner.seed, EPOCH, loop.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        """Seed what the model draws, such as the boxes that a detector learns from.

        Args:
            runner: The runner in training.
            batch_idx: Not used.
            data_batch: Not used.
        """
        if _has_seed(runner):
            seed_all(runner.seed, STEP, runner.iter)


def _has_seed(runner: Runner) -> bool:
    return (runner.cfg.get('randomness') or {}).get('seed') is not None


class SeededBatches:
    """An iterator over batches that seeds the process before it loads each.

    Args:
        batches: The iterator to draw from.
        seed: The seed of the run.
    """

    def __init__(self, batches: Iterator, seed: int) -> None:
        self.batches, self.seed, self.drawn = batches, seed, 0

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> object:
        seed_all(self.seed, BATCH, self.drawn)
        self.drawn += 1
        return next(self.batches)

    def skip_iter(self, count: int) -> None:
        """Go through the batches before a resumed one.

        They are loaded and dropped: the loader's processes must draw for each what they drew then.

        Args:
            count: How many.
        """
        for _ in range(count):
            next(self)


def seed_all(seed: int, kind: int, count: int) -> None:
    """Seed Python, numpy and torch, differently in every process of a run.

    Args:
        seed: The seed of the run.
        kind: `EPOCH`, `BATCH` or `STEP`.
        count: Which of them.
    """
    seed = _derive(seed, kind, count)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _derive(seed: int, kind: int, count: int) -> int:
    return int(np.random.SeedSequence([seed, get_rank(), kind, count]).generate_state(1)[0])
