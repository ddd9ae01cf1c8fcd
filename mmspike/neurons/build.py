"""Neurons from configs, and the number of time steps handed to those of a whole model."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import nn

from mmspike.registry import MODELS

from .lif import LIF
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


def build_neuron(cfg: dict | None = None, **overrides: object) -> nn.Module:
    """Build a neuron, or any activation: changing ``type`` to ReLU gives the ANN twin.

    Args:
        cfg: The neuron's config; None is the model's neuron (`default_neuron`). Options of a LIF
            are left out for a type that does not take them: a ReLU has no threshold.
        overrides: Options that override the config's, likewise.
    """
    cfg = {**(cfg or _default.get() or _RELEASED), **overrides}
    cls = cfg['type'] if isinstance(cfg['type'], type) else MODELS.get(cfg['type'])
    if cls is not None:
        of_lif, accepted = (inspect.signature(c).parameters for c in (LIF, cls))
        cfg = {k: v for k, v in cfg.items() if k in accepted or k not in of_lif}
    return MODELS.build(cfg)


def set_time_steps(module: nn.Module, time_steps: int) -> nn.Module:
    """Hand the number of time steps to everything inside `module` that asks for one.

    Raises:
        UserError: If `time_steps` is not a positive integer.
    """
    check_time_steps(time_steps)
    for child in module.modules():
        if hasattr(child, 'time_steps'):
            child.time_steps = time_steps  # type: ignore[assignment]  # Not a module's own.
    return module
