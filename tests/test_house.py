"""The rules of the house: which room may import which, and what stands where."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from mmspike.commands.main import COMMANDS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'mmspike'
# The rooms, from the ground up: an import points down, to a room that stands before.
ROOMS = (
    *('version', 'errors', 'mixins', 'compat', 'registry', 'checkpoint', 'process', 'config'),
    *('neurons', 'layers', 'models', 'deploy', 'analysis', 'datasets'),
    *('checks', 'hosts', 'hooks', 'commands', 'engine', 'apis', '__main__'),
)
FILES = sorted(PACKAGE.rglob('*.py'))
OLD_TOOLS = {'show_spikes.py', 'check_spike_driven.py', 'convert_checkpoint.py'}  # Links.
# Tools that are no command: they set up, or make data.
OWN_TOOLS = {'setup_env.py', 'make_shapes.py', 'make_moving_shapes.py'}


def room(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix('.py')


def imported_rooms(file):
    """The rooms of mmspike that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
            if node.module == 'mmspike':
                names = [f'mmspike.{alias.name}' for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = file.relative_to(PACKAGE).parts
            above = parts[: len(parts) - node.level]
            names = ['.'.join(['mmspike', *above, *filter(None, [node.module])])]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith('mmspike.'):
                yield name.split('.')[1]


@pytest.mark.parametrize(
    'file', [f for f in FILES if f.parent != PACKAGE or f.name != '__init__.py'], ids=str
)
def test_an_import_points_down(file):
    own = ROOMS.index(room(file))
    up = [name for name in imported_rooms(file) if name in ROOMS and ROOMS.index(name) > own]
    assert not up, f'{file.relative_to(ROOT)} imports {up}'


def test_every_room_is_known():
    assert {room(file) for file in FILES} - {'__init__'} == set(ROOMS)


def test_no_two_files_have_one_name():
    counts = Counter(file.name for file in FILES if file.name != '__init__.py')
    assert [name for name, count in counts.items() if count > 1] == []


def test_no_file_is_longer_than_400_lines():
    files = [*FILES, *(ROOT / 'tools').rglob('*.py')]
    long = {str(f): len(f.read_text().splitlines()) for f in files}
    assert {name: count for name, count in long.items() if count > 400} == {}


def test_what_differs_between_libraries_stands_in_hosts():
    asks = re.compile(r"\bscope\s*(==|!=|in\b)|default_scope'?\)?\]?\s*(==|!=)")
    found = [
        f'{file.name}:{number}'
        for file in FILES
        if room(file) != 'hosts'
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if asks.search(line)
    ]
    assert found == []


def test_a_command_its_file_its_function_and_its_tool_have_one_name():
    for name in COMMANDS:
        tree = ast.parse((PACKAGE / 'commands' / f'{name}.py').read_text())
        assert name in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    tools = {file.name for file in (ROOT / 'tools').glob('*.py')}
    # `mmspike doctor` needs no tool: it is for where mmspike is installed.
    assert tools - OLD_TOOLS - OWN_TOOLS == {f'{name}.py' for name in COMMANDS} - {'doctor.py'}
    for name in OLD_TOOLS:
        assert (ROOT / 'tools' / name).is_symlink()


def test_analysis_knows_no_operator_by_class():
    rooms = {name for file in FILES if room(file) == 'analysis' for name in imported_rooms(file)}
    assert not rooms & {'layers', 'models'}
