"""Neurons from configs, and the number of time steps handed to those of a whole model."""

import inspect
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmspike.errors import UserError
from mmspike.registry import MODELS

from . import integer, lif  # noqa: F401  # The registry knows them.
from .base import SpikingNeuron
from .timefold import check_time_steps

_RELEASED = {'type': 'mmspike.LIF'}
_default: ContextVar[dict | None] = ContextVar('default neuron', default=None)


@contextmanager
def default_neuron(cfg: dict | None) -> Iterator[None]:
    """Let every neuron that is built inside without a config of its own be `cfg`.

    A model wraps the building of its parts in this, so that the neuron is written once.
    """
    token = _default.set(cfg or _default.get())
    try:
        yield
    finally:
        _default.reset(token)


def is_spiking(neuron: nn.Module | type) -> bool:
    """Tell whether a neuron, or its class, fires, or is an activation of an ordinary network.

    A class declares it as `spiking`. One that does not is held for a neuron, unless it comes from
    torch or mmcv: nothing of what it is told is then left out silently.
    """
    cls = neuron if isinstance(neuron, type) else type(neuron)
    return getattr(neuron, 'spiking', not cls.__module__.startswith(('torch.', 'mmcv.')))


def build_neuron(cfg: dict | None = None, **overrides: object) -> nn.Module:
    """Build a neuron, or any activation: changing ``type`` to ReLU gives the ANN twin.

    Args:
        cfg: The neuron's config; None is the model's neuron (`default_neuron`). An option that
            only other neurons have is left out, so that ``type`` is a switch: a ReLU has no
            threshold, a LIF no levels. For a `SpikingNeuron` the log says so.
        overrides: Options that the layer around the neuron asks for, likewise.

    Raises:
        UserError: If a spiking neuron does not take one of `overrides`.
        TypeError: If it does not take an option of its config.
    """
    cfg = {**(cfg or _default.get() or _RELEASED), **overrides}
    cls = cfg['type'] if isinstance(cfg['type'], type) else MODELS.get(cfg['type'])
    if cls is None:
        return MODELS.build(cfg)  # It says that there is none.
    accepted = inspect.signature(cls).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    unknown = set() if takes_any else set(cfg) - set(accepted) - {'type'}
    foreign = unknown & _options_of(SpikingNeuron) if unknown else unknown
    if not is_spiking(cls):
        cfg = {key: value for key, value in cfg.items() if key not in foreign}
    elif not takes_any and (missing := [name for name in overrides if name not in accepted]):
        raise UserError(
            f'{cls.__name__} takes no {missing[0]}, but the layer that it stands in asks for '
            f'{missing[0]}={overrides[missing[0]]}: give the class this argument, which means what '
            'it does in mmspike.SpikingNeuron, or, if it is no spiking neuron, the attribute '
            'spiking = False.'
        )
    for key in foreign & set(cfg):
        if issubclass(cls, SpikingNeuron):
            _tell_foreign(cls.__name__, key, str(cfg.pop(key)))
    return MODELS.build(cfg)


@lru_cache
def _tell_foreign(kind: str, key: str, value: str) -> None:
    """Say once that an option is left out, as of a config whose ``type`` was switched."""
    print_log(f'{kind} has no {key}, so {key}={value} of the config is left out.', 'current')


def _options_of(cls: type[nn.Module]) -> set[str]:
    """Name the arguments of a class and of all its subclasses."""
    own = set(inspect.signature(cls).parameters)
    return own.union(*(_options_of(child) for child in cls.__subclasses__()))


@MODELS.register_module(name='Neuron')
def build_activation(inplace: bool = False, **options: object) -> nn.Module:
    """Build the model's neuron where mmcv asks for an activation: ``dict(type='mmspike.Neuron')``.

    As `act_cfg` it lets a network spike that has its activations behind its weights. Of the ANN
    twin it is the activation in the neurons' place.

    Args:
        inplace: What mmcv tells every activation; a neuron has no such option.
        options: Options in place of those of the model's neuron, as in `build_neuron`.
    """
    return build_neuron(**options)  # type: ignore[arg-type]  # Not its cfg.


def find_neurons(model: nn.Module) -> dict[str, nn.Module]:
    """Find the neuron layers of a model by their names.

    A neuron layer is a `mmspike.SpikingNeuron` anywhere, or whatever stands where mmspike's layers
    keep their neuron: under ``neuron``, or a name that ends with ``_neuron``, but for an identity,
    which a neuron leaves that has moved.

    Args:
        model: Any model.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, SpikingNeuron)
        or (f'.{name}'.endswith(('.neuron', '_neuron')) and not isinstance(module, nn.Identity))
    }


def name_neurons(model: nn.Module) -> str | None:
    """Name the neuron that most layers of a model have, and its levels if it counts.

    Args:
        model: Any model; of the ANN twin it is the activation in the neurons' place.

    Returns:
        Such as ``'NILIF with 8 levels'``; None if there is no neuron.
    """
    names = [
        f'{type(m).__name__} with {m.levels} levels'
        if getattr(m, 'levels', 1) != 1
        else type(m).__name__
        for m in find_neurons(model).values()
    ]
    return Counter(names).most_common(1)[0][0] if names else None


# What a neuron has beside its constants: they change no spike.
NO_CONSTANTS = (
    'training',
    'time_steps',
    'backend',
    'surrogate',
    'alpha',
    'detach_reset',
    'in_bytes',
)


def neuron_constants(model: nn.Module) -> dict[str, dict]:
    """Tell the constants of each spiking neuron of a model: they belong to its weights.

    Args:
        model: Any model.

    Returns:
        By the names of the neurons, such as ``dict(type='LIF', v_threshold='learned')``.
    """
    return {
        name: {
            'type': type(module).__name__,
            **dict.fromkeys(module._parameters, 'learned'),
            **{
                key: value
                for key, value in vars(module).items()
                if isinstance(value, (bool, int, float, str, type(None)))
                and not key.startswith('_')
                and key not in NO_CONSTANTS
            },
        }
        for name, module in find_neurons(model).items()
        if is_spiking(module)
    }


def _other_constants(own: Mapping, theirs: Mapping) -> tuple[str, str] | None:
    """Write down the constants in which the first of two models' neurons differ."""
    for name, constants in own.items():
        # A backbone may start from the checkpoint of a whole model.
        there = theirs.get(name, theirs.get(f'backbone.{name}', constants))
        differing = [k for k in constants if k in there and there[k] != constants[k]]
        if differing:
            said = (', '.join(f'{k}={c[k]}' for k in differing) for c in (there, constants))
            return f'of {next(said)} ({name})', next(said)
    return None


def warn_of_other_neurons(model: nn.Module, checkpoint: Mapping, path: str | Path) -> None:
    """Tell of weights that were trained for other neurons or steps: names and shapes are the same.

    Args:
        model: What they go into.
        checkpoint: What was read; checkpoints of a run of ours tell of both under ``meta``.
        path: Its file, for the message.
    """
    meta = checkpoint.get('meta') or {}
    theirs, own = meta.get('neurons'), name_neurons(model)
    if theirs and theirs == own:
        differing = _other_constants(neuron_constants(model), meta.get('neuron_constants') or {})
        if differing is not None:
            theirs, own = f'{own} {differing[0]}', differing[1]
    if theirs and own and theirs != own:
        print_log(
            f"Checkpoint '{path}' was trained with the neuron {theirs}, but the config has {own}: "
            'it computes something else with these weights. Set model.backbone.neuron as it was, '
            'or train on.',
            'current',
            logging.WARNING,
        )
    steps, own_steps = meta.get('time_steps'), find_time_steps(model)
    if steps and own_steps and steps != own_steps:
        print_log(
            f"Checkpoint '{path}' was trained at T = {steps}, and the config has T = {own_steps}: "
            'the weights fit, but were never trained at that; train on to gain from it.',
            'current',
            logging.INFO,
        )


def find_time_steps(model: Any) -> int | None:
    """Tell the time steps of a backbone, or of the one that a model has; None if there are none."""
    return getattr(getattr(model, 'backbone', model), 'time_steps', None)


def set_time_steps(module: nn.Module, time_steps: int) -> nn.Module:
    """Hand the number of time steps to everything inside `module` that asks for one.

    A part with a method `set_time_steps` hands it on itself: a model whose backbone averages over
    time leaves one step to the rest.

    Raises:
        UserError: If `time_steps` is not a positive integer.
    """
    check_time_steps(time_steps)
    own = getattr(module, 'set_time_steps', None)
    if callable(own):
        own(time_steps)
        return module
    if hasattr(module, 'time_steps'):
        module.time_steps = time_steps  # type: ignore[assignment]  # Not a module's own.
    for child in module.children():
        set_time_steps(child, time_steps)
    return module
