"""Checkpoints that are written whole or not at all."""

import os
from collections.abc import Callable
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmspike.checks.weights import unwrap
from mmspike.errors import UserError, did_you_mean
from mmspike.neurons import find_time_steps, name_neurons, neuron_constants
from mmspike.registry import HOOKS

BACKEND = 'mmspike_whole_files'


class WholeFileBackend(LocalBackend):
    """Writes beside the target and renames, so that a file is there whole or not at all."""

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Write bytes to a file.

        Args:
            obj: The bytes.
            filepath: The file; its folder is made.

        Raises:
            OSError: If it cannot be written; what was there before is left as it was.
        """
        target = Path(filepath)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + '.part')
        try:
            with partial.open('wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


register_backend(BACKEND, WholeFileBackend, force=True)


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """Saves checkpoints so that a run which is killed at any time leaves one to resume from.

    The stock hook writes to the final file at once, and deletes the oldest of ``max_keep_ckpts``
    before the new one is there. Its options are those of the stock hook; a ``backend_args`` of
    another place than this machine's disk is left as it is.
    """

    backend_args: dict | None
    file_backend: Any

    def before_train(self, runner: Runner) -> None:
        """Choose how files are written.

        Args:
            runner: The runner about to train.
        """
        super().before_train(runner)
        if self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=BACKEND)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write down the neurons and time steps of the weights, which their names do not tell.

        Args:
            runner: The runner.
            checkpoint: What is about to be written.
        """
        super().before_save_checkpoint(runner, checkpoint)
        checkpoint['meta']['neurons'] = name_neurons(runner.model)
        checkpoint['meta']['neuron_constants'] = neuron_constants(unwrap(runner.model))
        checkpoint['meta']['time_steps'] = find_time_steps(unwrap(runner.model))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        for name in self.key_indicators if self.save_best else []:
            if name not in ('auto', *metrics):
                near = did_you_mean(name, list(metrics))
                raise UserError(
                    f"save_best of the checkpoint hook is '{name}', but the validation gives "
                    f'{", ".join(metrics)}{near}; correct it in the config or in --cfg-options, '
                    'then go on with --resume.'
                )
        super()._save_best_checkpoint(runner, metrics)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        backend: Any = self.file_backend
        old: list[Callable[[], None]] = []
        # What it is told to remove it only notes.
        self.file_backend = copy(backend)
        self.file_backend.remove = lambda path: old.append(partial(backend.remove, path))
        self.file_backend.rmtree = lambda path: old.append(partial(backend.rmtree, path))
        try:
            super()._save_checkpoint_with_step(runner, step, meta)
        except OSError as error:
            raise UserError(
                f"Checkpoint '{self.last_ckpt}' could not be written ({error.strerror}); the older "
                'ones are as they were: make room, then go on with --resume.'
            ) from error
        finally:
            self.file_backend = backend
        for remove in old:
            remove()
