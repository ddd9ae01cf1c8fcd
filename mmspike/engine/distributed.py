"""Several processes, on GPUs or on CPUs alone."""

import gc
import os
from contextlib import suppress

import torch.distributed
from mmengine.config import Config
from mmengine.device import get_device

from mmspike.errors import UserError


def use_launcher(config: Config, launcher: str) -> None:
    """Prepare a config for the processes of a launcher.

    mmengine binds every process to a GPU. Where there is none, the group is opened here, over
    gloo, before mmengine would do it, and the model is wrapped without device ids.

    Args:
        config: The config to complete.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Raises:
        UserError: If the processes were not started the way the launcher expects.
    """
    config.launcher = launcher
    if launcher == 'none':
        return
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UserError(
            '--launcher pytorch expects to be started by torchrun, which sets RANK; '
            'use tools/dist_train.sh or tools/dist_test.sh.'
        )
    # Batch statistics differ between processes; validation must see the same on all of them.
    add_hook(config, 'SyncBuffersHook')
    if get_device() != 'cpu':
        return
    if launcher != 'pytorch':
        raise UserError(
            f'--launcher {launcher} needs GPUs, and this machine shows none; '
            'use --launcher pytorch on CPUs.'
        )
    config.sync_bn = None  # torch synchronizes batch statistics on GPUs alone.
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=config.get('find_unused_parameters', False),
    )
    config.model_wrapper_cfg = {
        **wrapper,
        **config.get('model_wrapper_cfg', {}),
        'device_ids': None,
    }
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')


def leave_group() -> None:
    """Close the group of processes, if there is one, when all of them have done their work.

    Its threads end with it, and so with the last that holds it, such as a wrapped model in a circle
    of references. A thread of gloo that lets go of a tensor while Python ends aborts the process.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # All are done here: the first to leave may close the connection while others still wait.
        with suppress(RuntimeError):
            torch.distributed.barrier()
        gc.collect()
        torch.distributed.destroy_process_group()


def add_hook(config: Config, name: str) -> None:
    """Add a hook to a config that has it not yet.

    Args:
        config: The config to complete.
        name: Its type.
    """
    hooks = list(config.get('custom_hooks') or [])
    if not any(hook['type'] == name for hook in hooks):
        config.custom_hooks = [*hooks, dict(type=name)]
