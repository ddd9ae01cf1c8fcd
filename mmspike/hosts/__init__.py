"""mmdet, mmseg and mmpretrain: all that differs between them, and their inferencers."""

from importlib.util import find_spec

from mmengine.config import Config

from mmspike.errors import UserError

from .library import Library
from .mmdet import MMDet
from .mmpretrain import MMPretrain
from .mmseg import MMSeg

LIBRARIES: dict[str, Library] = {kind.name: kind() for kind in (MMDet, MMSeg, MMPretrain)}


def library_of(config: Config) -> Library:
    """Return the library that a config is for.

    Raises:
        UserError: If it is none of the three, or not installed.
    """
    scope = config.get('default_scope')
    if scope not in LIBRARIES:
        raise UserError(
            f'default_scope of the config is {scope!r}, but it must be one of '
            f'{", ".join(LIBRARIES)}; set it there.'
        )
    if find_spec(scope) is None:
        raise UserError(
            f'the config needs {scope}, which is not installed here; install it, for example with '
            'python3 tools/setup_env.py.'
        )
    return LIBRARIES[scope]


__all__ = ['LIBRARIES', 'Library', 'library_of']
