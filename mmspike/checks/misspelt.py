"""Turn errors raised while building from a config into one clear sentence."""

import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from mmengine import registry as registries
from mmengine.registry import DefaultScope, Registry
from torch.utils.data import DataLoader

import mmspike.registry  # noqa: F401  # Its types are among the right names.
from mmspike.config import walk
from mmspike.errors import UserError, did_you_mean

LIBRARIES = ('mmdet', 'mmseg', 'mmpretrain')
WAY_OUT = 'correct it in the config or in --cfg-options'
UNREGISTERED = re.compile(r"([^\s'\"`]+) is not in the \w+::(.+?) registry")
# What mmcv and mmengine say where they do not look at what a registry gave: of layers, optimizers.
NOTHING = {'Cannot find None in registry': 'model', 'None is not a callable object': 'optimizer'}
ARGUMENTS = re.compile(r'([\w.<>]+)\(\) (got an unexpected|missing).* arguments?:? (.+)')

# The keys and values that say what to build, and the class or function: None if no registry has it.
Node = tuple[dict, Any]


@contextmanager
def name_misspellings(config: Mapping | None = None) -> Iterator[None]:
    """Let what is built inside from a config name what it refuses of the config.

    Errors that are not the config's fault, such as a wrong argument in code, pass through
    unchanged.

    Args:
        config: The config, or a part of it. Without it only types are named.

    Raises:
        UserError: If a type is in no registry, a class gets an argument that it does not take or
            lacks one, or itself raises an error at a value.
    """
    try:
        yield
    except UserError:
        raise
    except (TypeError, KeyError, ValueError, AssertionError) as error:
        errors: list[BaseException] = [error]  # Some mmengine raise one again at every level.
        while cause := errors[-1].__cause__ or errors[-1].__context__:
            errors.append(cause)
        nodes = list(_nodes(config))
        for step in reversed(errors):
            if sentence := _type(step, nodes) or _argument(step, nodes) or _value(step, nodes):
                raise UserError(f'{sentence}.') from error
        raise


def _nodes(config: Mapping | None) -> Iterator[Node]:
    """Yield what a config builds."""
    for place, node in walk({'config': getattr(config, '_cfg_dict', config)}):
        if not isinstance(node, dict):
            continue
        kind = DataLoader if place.endswith('_dataloader') else node.get('type')
        if isinstance(kind, str):
            found = [call for registry in _registries() if (call := _get(registry, kind))]
            yield from ((node, call) for call in found)
            # Elsewhere stand types that no registry knows, such as nms.
            if not found and place.endswith(('_cfg', 'optimizer')):
                yield node, None
        elif callable(kind):
            yield node, kind


def _registries() -> list[Registry]:
    """List the registries of the library in whose scope a config is built, else mmengine's."""
    scope = DefaultScope.get_current_instance()
    roots = [root for root in vars(registries).values() if isinstance(root, Registry)]
    return [root.children.get(scope and scope.scope_name, root) for root in roots]


def _get(registry: Registry, kind: str) -> Callable | None:
    try:
        return registry.get(kind)
    except Exception:  # Some mmengine raise for None; a broken library must not hide the error.
        return None


def _type(error: BaseException, nodes: list[Node]) -> str | None:
    if match := UNREGISTERED.search(str(error)):
        kind, name = match.groups()
    elif name := next((name for text, name in NOTHING.items() if text in str(error)), None):
        kind = next((node['type'] for node, call in nodes if call is None), None)
    if not name or not kind:
        return None
    scope = DefaultScope.get_current_instance()
    for library in (kind.partition('.')[0], scope and scope.scope_name):
        if library in LIBRARIES and find_spec(library) is None:
            return (
                f"the type '{kind}' needs {library}, which is not installed here; install it, for "
                'example with python3 tools/setup_env.py'
            )
    registry = next(registry for registry in _registries() if registry.name == name)
    types = _types(registry, '.' in kind)
    # A forgotten prefix, before names that only look alike.
    types = {name for name in types if name.rpartition('.')[2] == kind} or types
    near = did_you_mean(kind, types) or did_you_mean(
        kind, {name.rpartition('.')[2]: name for name in types}
    )
    place = f'{registry.scope}::{name}'
    return f"the type '{kind}' is not in the registry {place}{near}; {WAY_OUT}"


def _types(registry: Registry, scoped: bool) -> set[str]:
    """List the names by which types can be had from a registry.

    Args:
        registry: The registry.
        scoped: Whether its own have the name of their library before them.
    """
    root = registry.parent or registry
    if 'mmspike' in root.children:
        root.children['mmspike'].import_from_location()
    names: set[str] = set() if scoped else {*registry.module_dict, *root.module_dict}
    for child in root.children.values():
        if scoped or child is not registry:
            names.update(f'{child.scope}.{name}' for name in child.module_dict)
    return names


def _argument(error: BaseException, nodes: list[Node]) -> str | None:
    match = ARGUMENTS.search(str(error))
    if match is None:
        return None
    names = match[3].replace("'", '')
    asked = set(re.findall(r'\w+', names))
    for node, call in nodes:
        owners = [getattr(c, '__qualname__', None) for c in getattr(call, '__mro__', (call,))]
        if match[1].removesuffix('.__init__') not in owners:
            continue
        # What the config gives and code did not hand on is not missing in the config.
        if match[2] == 'missing' and not asked & node.keys():
            return f'{call.__name__} needs {names}, which the config does not give; set it there'
        if match[2] != 'missing' and asked <= node.keys():
            near = did_you_mean(names, {*_parameters(call), 'type'})
            return f'{call.__name__} takes no argument {names}{near}; {WAY_OUT}'
    return None


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


def _value(error: BaseException, nodes: list[Node]) -> str | None:
    """Say what an object of the config said of a value while it was built."""
    steps = traceback.extract_tb(error.__traceback__)
    if not steps:
        return None
    on_purpose = str(steps[-1].line).startswith(('raise', 'assert'))
    # As of a text where a number was expected; elsewhere, and of other kinds, it is a bug.
    at_a_value = isinstance(error, ValueError) or 'not supported between' in str(error)
    if not on_purpose and not (at_a_value and steps[-1].name == '__init__'):
        return None
    for _, call in nodes:
        if '__init__' in {step.name for step in steps} and _holds(call, steps[-1]):
            # An assertion without words speaks by its line.
            text = ' '.join(str(error.args[0] if error.args else steps[-1].line).split())
            text = text.rstrip('.')
            return f'{call.__name__} refuses what the config gives it ({text}); {WAY_OUT}'
    return None


def _holds(call: Callable, step: traceback.FrameSummary) -> bool:
    """Tell whether a line of a traceback stands in a class or in one of its bases."""
    for base in getattr(call, '__mro__', ()):
        if getattr(sys.modules.get(base.__module__), '__file__', None) == step.filename:
            lines, first = inspect.getsourcelines(base)
            if first <= (step.lineno or 0) < first + len(lines):
                return True
    return False
