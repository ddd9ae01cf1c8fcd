"""The command ``mmspike``: one name for the tools, wherever mmspike is installed."""

import sys
from collections.abc import Sequence
from importlib import import_module

from mmspike.process import spin_briefly
from mmspike.version import __version__

# Each imports what it needs when it is called: `doctor` must run where nothing else does.
COMMANDS = {
    'train': ('mmspike.engine.cli:train', 'train a model'),
    'test': ('mmspike.engine.cli:test', 'test a model: mAP, mIoU or accuracy'),
    'infer': ('mmspike.apis.cli:infer', 'show what a model finds in pictures and videos'),
    'spikes': ('mmspike.apis.cli:show_spikes', 'show where and how often a network fires'),
    'energy': ('mmspike.apis.energy:energy', 'estimate the energy, layer by layer'),
    'check': (
        'mmspike.apis.spike_driven:check_spike_driven',
        'prove that every weight layer sees spikes only',
    ),
    'convert': ('mmspike.engine.convert:convert', 'convert a released ImageNet checkpoint'),
    'benchmark': ('mmspike.apis.benchmark:benchmark', 'time models side by side'),
    'demo': ('mmspike.engine.demos:demo', 'train a small model on generated shapes, and draw'),
    'doctor': ('mmspike.doctor:doctor', 'say what is installed, what works, and what is missing'),
}


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
        name: A key of `COMMANDS`.
    """
    spin_briefly()
    module, _, function = COMMANDS[name][0].partition(':')
    try:
        call = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if (error.name or '').partition('.')[0] == 'mmspike':
            raise
        sys.exit(
            f"Error: mmspike {name} needs the package '{error.name}', which is not installed "
            'here; mmspike doctor says how to get what is missing.'
        )
    if name == 'doctor':
        sys.exit(call())
    from mmspike.engine.cli import run_tool

    run_tool(call)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = (f'  {name:{width}}  {text}' for name, (_, text) in COMMANDS.items())
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


if __name__ == '__main__':
    main()
