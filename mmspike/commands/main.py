"""The command ``mmspike``: one name for the tools, wherever mmspike is installed."""

import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from mmspike.process import spin_briefly
from mmspike.version import __version__

# Each is a file of this folder with a function of its name, which imports what it needs when it is
# called: `doctor` must run where nothing else does.
COMMANDS = (
    *('train', 'test', 'infer', 'spikes', 'energy', 'check', 'convert', 'benchmark', 'demo'),
    'export',
    'report',
    'serve',
    'doctor',
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``mmspike COMMAND ARGUMENTS``.

    Args:
        argv: The arguments; those of the process by default.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    name = argv[0] if argv else '--help'
    if name in ('-h', '--help'):
        print(_help())
        return
    if name in ('-V', '--version'):
        print(f'mmspike {__version__}')
        return
    if name not in COMMANDS:
        sys.exit(f"Error: there is no command '{name}'; name one of {', '.join(COMMANDS)}.")
    # The parsers of the commands say their name from here.
    sys.argv = [f'mmspike {name}', *argv[1:]]
    run(name)


def run(name: str) -> None:
    """Run a command with the arguments of the process, as ``mmspike NAME`` and tools/ do.

    Args:
        name: One of `COMMANDS`.
    """
    spin_briefly()
    try:
        call = getattr(import_module(f'mmspike.commands.{name}'), name)
    except ModuleNotFoundError as error:
        if (error.name or '').partition('.')[0] == 'mmspike':
            raise
        sys.exit(
            f"Error: mmspike {name} needs the package '{error.name}', which is not installed "
            'here; mmspike doctor says how to get what is missing.'
        )
    if name == 'doctor':
        sys.exit(call())
    from mmspike.commands.common import run_tool

    run_tool(call)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = (f'  {name:{width}}  {_summary(name)}' for name in COMMANDS)
    return '\n'.join(
        [
            f'mmspike {__version__}: spiking neural networks in OpenMMLab',
            '',
            'usage: mmspike COMMAND ...',
            '',
            *lines,
            '',
            'mmspike COMMAND --help lists the arguments of one. A config is a path, or the name of '
            'one\nof those that mmspike ships, such as mask_rcnn_metaspike_coco.py.',
        ]
    )


def _summary(name: str) -> str:
    """Read the first line of a command's file, without importing what it needs."""
    file = Path(__file__).with_name(f'{name}.py')
    text = ast.get_docstring(ast.parse(file.read_text())) or ''
    line = text.splitlines()[0].rstrip('.')
    return line[0].lower() + line[1:]


if __name__ == '__main__':
    main()
