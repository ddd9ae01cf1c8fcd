"""Turn errors raised while building from a config into one clear sentence."""

import dis
import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from mmengine.registry import DefaultScope, Registry
from torch.utils.data import DataLoader

import mmspike.registry  # noqa: F401  # Its types are among the right names.
from mmspike.errors import UserError, did_you_mean

LIBRARIES = ('mmdet', 'mmseg', 'mmpretrain')
WAY_OUT = 'correct it in the config or in --cfg-options'
UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")
MISSING = re.compile(r'(\w+)(?:\.\w+)?\(\) missing \d+ required [\w-]+ arguments?: (.+)')
UNREGISTERED = re.compile(r"([^\s'\"`]+) is not in the (.+?) registry")
# What mmcv and mmengine say where they do not look at what a registry gave.
NOTHING = re.compile(r'Cannot find None in registry|None is not a callable object')
RAISE = dis.opmap['RAISE_VARARGS']
# What mmengine's and mmcv's functions call what they call, and its arguments.
CALLS = {
    'build_from_cfg': ('obj_cls', 'args'),
    'build_scheduler_from_cfg': ('scheduler_cls', 'args'),
    'build_dataloader': ('', 'dataloader_cfg'),
    'build_norm_layer': ('norm_layer', 'cfg_'),
    'build_conv_layer': ('conv_layer', 'cfg_'),
}


@contextmanager
def name_misspellings() -> Iterator[None]:
    """Let what is built inside from a config name what it refuses of the config.

    It decorates functions too. Errors that are not the config's fault, such as a wrong argument in
    code, pass through unchanged.

    Raises:
        UserError: If a type is in no registry, a class gets an argument that it does not take or
            lacks one, or itself raises an error at a value.
    """
    try:
        yield
    except UserError:
        raise
    except (TypeError, KeyError, ValueError, AssertionError) as error:
        sentence = _type(error) if isinstance(error, TypeError | KeyError) else None
        if sentence is None and isinstance(error, TypeError):
            sentence = _argument(error)
        sentence = sentence or _value(error)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def _argument(error: BaseException) -> str | None:
    if found := _deepest(error, UNEXPECTED):
        error, match = found
        call, given = _call(error)
        if call is None or match[1] not in given:
            return None
        near = did_you_mean(match[1], {*_parameters(call), 'type'})
        return f'{call.__name__} takes no argument {match[1]}{near}; {WAY_OUT}.'
    if found := _deepest(error, MISSING):
        error, match = found
        call, given = _call(error)
        owners = [getattr(c, '__name__', '') for c in getattr(call, '__mro__', (call,))]
        # What the config gives and code did not hand on is not missing in the config.
        if call is None or match[1] not in owners or set(re.findall(r'\w+', match[2])) & set(given):
            return None
        names = match[2].replace("'", '')
        return f'{call.__name__} needs {names}, which the config does not give; set it there.'
    return None


def _value(error: BaseException) -> str | None:
    """Say what an object of the config said, by ``raise`` or ``assert``, while it was built."""
    for step in _chain(error):
        call, _ = _call(step)
        if isinstance(call, type) and isinstance(_raised_by(step), call):
            # An assertion without words speaks by its line.
            line = traceback.extract_tb(step.__traceback__)[-1].line
            text = ' '.join(str(step.args[0] if step.args else line).split()).rstrip('.')
            return f'{call.__name__} refuses what the config gives it ({text}); {WAY_OUT}.'
    return None


def _raised_by(error: BaseException) -> object | None:
    """Give the object in whose method an error was raised on purpose; None for an accident."""
    end = error.__traceback__
    while end is not None and end.tb_next is not None:
        end = end.tb_next
    if end is None or end.tb_frame.f_code.co_code[end.tb_lasti] != RAISE:
        return None
    return end.tb_frame.f_locals.get('self')


def _type(error: BaseException) -> str | None:
    if found := _deepest(error, UNREGISTERED):
        error, match = found
        kind, place = match[1], match[2]
    elif found := _deepest(error, NOTHING):
        error, _ = found
        kind, place = _asked_for(error)
    else:
        return None
    if kind is None:
        return None
    scope = DefaultScope.get_current_instance()
    for library in (kind.partition('.')[0], scope and scope.scope_name):
        if library in LIBRARIES and find_spec(library) is None:
            return (
                f"the type '{kind}' needs {library}, which is not installed here; install it, for "
                'example with python3 tools/setup_env.py.'
            )
    registries = (values.get('registry') for _, values in _frames(error))
    registry = next((r for r in registries if isinstance(r, Registry)), None)
    types = _types(registry, '.' in kind) if registry is not None else set()
    # A forgotten prefix, before names that only look alike.
    types = {name for name in types if name.rpartition('.')[2] == kind} or types
    near = did_you_mean(kind, types) or did_you_mean(
        kind, {name.rpartition('.')[2]: name for name in types}
    )
    return f"the type '{kind}' is not in the registry {place}{near}; {WAY_OUT}."


def _asked_for(error: BaseException) -> tuple[str | None, str]:
    """Give the type that a registry was asked for in vain, and the registry's name."""
    for _, values in _frames(error):
        registry = values.get('registry')
        if isinstance(registry, Registry):
            kind = values.get('layer_type') or values.get('optimizer_cfg', {}).get('type')
            return kind, f'{registry.scope}::{registry.name}'
    return None, ''


def _deepest(error: BaseException, pattern: re.Pattern) -> tuple[BaseException, re.Match] | None:
    """Find the first of the errors that led to one; some mmengine raise it again at every level."""
    found = None
    for step in _chain(error):
        if match := pattern.search(str(step)):
            found = step, match
    return found


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and, one after the other, those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _frames(error: BaseException) -> list[tuple[str, dict[str, Any]]]:
    """Give function names and local variables, the innermost first."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [(frame.f_code.co_name, frame.f_locals) for frame in reversed(frames)]


def _call(error: BaseException) -> tuple[Callable | None, dict]:
    """Give what mmengine called last, and the arguments that the config has for it."""
    for name, values in _frames(error):
        if name in CALLS:
            call, args = CALLS[name]
            return values.get(call) if call else DataLoader, values.get(args) or {}
    return None, {}


def _parameters(call: Callable) -> set[str]:
    """List what a class or function takes by name, for a class with what it hands to its bases."""
    names: set[str] = set()
    steps = [vars(c).get('__init__') for c in call.__mro__] if isinstance(call, type) else [call]
    for step in filter(None, steps):
        parameters = inspect.signature(step).parameters.values()
        names.update(p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {'self'}


def _types(registry: Registry, scoped: bool) -> set[str]:
    """List the names by which types can be had from a registry.

    Args:
        registry: The registry.
        scoped: Whether its own have the name of their library before them.
    """
    line = [registry]
    while line[-1].parent is not None:
        line.append(line[-1].parent)
    names: set[str] = set() if scoped else {name for node in line for name in node.module_dict}
    if 'mmspike' in line[-1].children:
        line[-1].children['mmspike'].import_from_location()
    for child in _below(line[-1]):
        if scoped or child not in line:
            names.update(f'{child.scope}.{name}' for name in child.module_dict)
    return names


def _below(registry: Registry) -> Iterator[Registry]:
    for child in registry.children.values():
        yield child
        yield from _below(child)
