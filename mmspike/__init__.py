"""mmspike: spiking neural networks as an OpenMMLab plugin.

Its parts are imported when they are first used: ``import mmspike`` needs neither torch nor any
package of OpenMMLab.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import UserError
from .version import __version__

if TYPE_CHECKING:
    from . import analysis, apis, datasets, deploy, engine, layers, models, neurons, registry

__all__ = [
    'UserError',
    '__version__',
    'analysis',
    'apis',
    'datasets',
    'deploy',
    'engine',
    'layers',
    'models',
    'neurons',
    'registry',
]


def __getattr__(name: str) -> Any:
    """Import a part on its first use (PEP 562)."""
    if name in __all__:
        return import_module(f'{__name__}.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
