"""Checkpoints are looked at before a runner loads them, and never run code.

mmengine falls back to a full unpickling, which runs whatever a file asks for, when it cannot read
a checkpoint as plain data. Refusing such a file first leaves nothing to fall back on.
"""

import os
import re
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from mmspike.errors import UserError

PLAIN = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'  # What torch itself looks at, in every load.
RESUME_KEYS = ('state_dict', 'meta', 'message_hub')
# Under which key mmengine, timm and the authors, and other training scripts save the weights.
WRAPPERS = ('state_dict', 'model', 'model_state_dict')


def _history_method(owner: type, name: str) -> object:
    """Stand in for ``getattr``, by which pickle names the four statistics of a HistoryBuffer."""
    if owner is not HistoryBuffer or name.startswith('_'):
        raise UnpicklingError(f'Unsupported global: getattr({owner}, {name!r})')
    return getattr(owner, name)


def allow_mmengine_types() -> None:
    """Let torch read the harmless types of mmengine's message hub as plain data."""
    scalars = (np.bool_, np.int32, np.int64, np.float32, np.float64)
    # numpy 1 calls the module numpy.core, numpy 2 numpy._core; a file may come from either.
    makers: list[Any] = [np.array(0).__reduce__()[0], np.float64(0).__reduce__()[0]]
    numpy_functions = [
        (function, f'{module}.multiarray.{function.__name__}')
        for function in makers
        for module in ('numpy.core', 'numpy._core')
    ]
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            Namespace,  # The released checkpoints' own record of their command line.
            (_history_method, 'builtins.getattr'),
            np.ndarray,
            np.dtype,
            *{type(np.dtype(scalar)) for scalar in scalars},
            *numpy_functions,
        ]
    )


def is_local(path: str) -> bool:
    """Tell whether a checkpoint is a file of this machine and not a URL or ``torchvision://``."""
    return '://' not in path


def load_checkpoint_file(path: str | Path) -> dict:
    """Read a checkpoint as plain data, without running any code it may hold.

    Args:
        path: A local file.

    Raises:
        UserError: If it is missing, damaged, no checkpoint, asks for code to be run, or has a
            weight that is no finite number.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"Checkpoint '{path}' is not there; give the path of a .pth file.")
    allow_mmengine_types()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # What is wrong is said below, in one sentence.
            checkpoint = torch.load(file, map_location='cpu', weights_only=True)
    except UnpicklingError as error:
        raise UserError(_why_refused(path, str(error))) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise UserError(
            f"Checkpoint '{path}' ({file.stat().st_size} bytes) is damaged or was cut "
            'short; copy or download it again.'
        ) from error
    except Exception as error:  # Foreign bytes taken for opcodes can raise anything.
        raise UserError(_why_refused(path, '')) from error
    if not isinstance(checkpoint, dict):
        raise UserError(
            f"'{path}' holds a {type(checkpoint).__name__}, but a checkpoint is a "
            'dict with the weights under state_dict; give another file.'
        )
    for key in ('state_dict', 'meta'):
        part = checkpoint.get(key, {})
        if not isinstance(part, Mapping) or not all(isinstance(name, str) for name in part):
            raise UserError(
                f"'{path}' holds a {type(part).__name__} under {key}, but a checkpoint has a dict "
                'of names there; give another file.'
            )
    require_finite(checkpoint, path)
    return checkpoint


def require_finite(checkpoint: Mapping, path: str | Path) -> None:
    """Demand that all weights of a checkpoint are finite numbers.

    A neuron does not fire on NaN, so neither predictions nor losses would show one.

    Args:
        checkpoint: As `find_weights` takes it.
        path: Its file, for the message.

    Raises:
        UserError: If one is NaN or infinite.
    """
    if found := first_not_finite(find_weights(checkpoint)):
        raise UserError(
            f"Checkpoint '{path}' holds {found[1]} in {found[0]}, but weights must be finite "
            'numbers: the run that wrote it has diverged; take an older one.'
        )


def first_not_finite(weights: Mapping[str, Any]) -> tuple[str, float] | None:
    """Find the first tensor with a number that is not finite; the name, and NaN or the infinity."""
    numbers = {
        name: value.detach()
        for name, value in weights.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    finite = [value.isfinite().all() for value in numbers.values()]
    if not finite or torch.stack(finite).all():  # One question to the device.
        return None
    name = next(name for name, value in numbers.items() if not value.isfinite().all())
    return name, numbers[name][~numbers[name].isfinite()][0].item()


def find_weights(checkpoint: Mapping) -> dict[str, Any]:
    """Take the weights out of a checkpoint of any training script.

    Args:
        checkpoint: What `load_checkpoint_file` returned.

    Returns:
        What stands under `WRAPPERS`, else the checkpoint's own tensors, without the ``module.`` and
        ``_orig_mod.`` that DistributedDataParallel and torch.compile put into names.
    """
    wrapped = (checkpoint.get(key) for key in WRAPPERS)
    weights = next((part for part in wrapped if isinstance(part, Mapping)), checkpoint)
    return {
        re.sub(r'^(module\.|_orig_mod\.)+|_orig_mod\.', '', str(name)): value
        for name, value in weights.items()
        if isinstance(value, Tensor) or weights is not checkpoint
    }


def misfits(model: nn.Module, weights: Mapping) -> Iterator[tuple[str, Any, torch.Size]]:
    """Yield every tensor whose shape differs between a model and the weights that have it.

    Returns:
        The name, the shape in `weights`, None if no tensor stands there, and the model's shape.
    """
    for name, own in model.state_dict().items():
        shape = getattr(weights.get(name, own), 'shape', None)
        if shape != own.shape:
            yield name, shape, own.shape


def show_shape(shape: torch.Size | None) -> str:
    """Write a shape, or that there is none, into a sentence."""
    return 'no tensor' if shape is None else str(tuple(shape))


@contextmanager
def plain_data_only(path: str | None = None) -> Iterator[None]:
    """Let torch read nothing but plain data, whoever calls it: mmengine unpickles what URLs give.

    Args:
        path: The checkpoint; None if it is one that the model's ``init_cfg`` names.

    Raises:
        UserError: If a checkpoint asks for code to be run, or is none.
    """
    allow_mmengine_types()
    before = os.environ.get(PLAIN, '0')
    os.environ[PLAIN] = '1'
    try:
        yield
    except UnpicklingError as error:
        raise UserError(_why_refused(path or 'of init_cfg', str(error))) from error
    finally:
        os.environ[PLAIN] = before


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """Find the checkpoint that a run in a folder goes on from: the last that is whole.

    It is the one that mmengine noted. Where a run was killed while it wrote, or the folder was
    moved, the newest whole one in the folder takes its place.

    Args:
        work_dir: The folder.

    Returns:
        Its path; None if no run has finished a checkpoint there.

    Raises:
        UserError: If there are checkpoints and none is whole.
    """
    noted = Path(work_dir, 'last_checkpoint')
    if not noted.is_file():
        return None
    named = noted.read_text().strip()
    files = (f for f in Path(work_dir).glob('*.pth') if re.fullmatch(r'(epoch|iter)_\d+', f.stem))
    newest = sorted(files, key=lambda f: int(f.stem.rpartition('_')[2]), reverse=True)
    candidates = [*([named] if named else []), *map(str, newest)]
    for path in candidates:
        # The end of a zip file lists what it holds: one that was cut short has none.
        if zipfile.is_zipfile(path):
            return path
    raise UserError(
        f"--resume found no whole checkpoint in '{work_dir}' (looked at: "
        f'{", ".join(dict.fromkeys(candidates)) or "nothing"}); remove {noted} to begin anew.'
    )


def require_start(path: str, config_path: str | Path) -> None:
    """Demand the checkpoint whose weights a new run starts from.

    Args:
        path: The config's ``load_from``, a local file.
        config_path: The config. If the folder of `path` has the name of a config beside it, it is
            the result of that one.

    Raises:
        UserError: If it is not there.
    """
    if Path(path).expanduser().is_file():
        return
    source = Path(config_path).with_name(Path(path).parent.name + '.py')
    result, train = '', ''
    if source.is_file():
        backbone = Config.fromfile(source).get('model', {}).get('backbone', {})
        steps = backbone.get('time_steps')
        result = f'the {f"T = {steps} " if steps else ""}result of {source}, '
        train = f'run tools/train.py {source} first, '
    raise UserError(
        f"This run starts from {result}load_from='{path}', which is not there; {train}give its "
        'place with --cfg-options load_from=FILE, or start without it with load_from=None.'
    )


def _why_refused(path: str | Path, reason: str) -> str:
    named = re.search(r'(?:GLOBAL|Unsupported class|unrecognized function) (\S+)', reason)
    if named is None and 'getattr' not in reason:
        return f"'{path}' is not a PyTorch checkpoint; give a .pth file that torch.save wrote."
    culprit = named[1] if named else 'builtins.getattr'
    return (
        f"Checkpoint '{path}' asks for {culprit} to be run, and loading weights must not run "
        'code; take the weights from a source you trust and save them as plain tensors.'
    )


def check_resumable(checkpoint: dict, path: str | Path) -> None:
    """Raise a UserError unless a checkpoint holds the state of a training run."""
    missing = [key for key in RESUME_KEYS if key not in checkpoint]
    if missing:
        raise UserError(
            f"Checkpoint '{path}' has no {missing[0]!r}, so training cannot resume "
            'from it; start from its weights with --cfg-options load_from=FILE.'
        )
