#!/usr/bin/env python3
"""Set up mmspike: a virtual environment in the checkout, torch, compiled mmcv and the rest.

Running it again takes seconds when nothing changed, and carries on where a killed run stopped.
The file parses under every Python 3, so that an old one gets a sentence and no traceback; what it
does is in _setup/.
"""

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036 - this is where an older Python is told so
    sys.exit(
        'error: mmspike needs Python 3.10 or newer and this is Python {}.{}; '
        'run the same command with a newer python3.'.format(*sys.version_info[:2])
    )

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _setup import commands, environment, mmcv, pytorch
from _setup.commands import Setup, SetupError


def install_all(setup: Setup, args: argparse.Namespace, python: str, keep: str | None) -> None:
    """Run the steps in the order in which each finds what it needs."""
    step = setup.progress.step
    with step('make the virtual environment .venv'):
        environment.make_venv(setup, python, keep)
    with step('install torch'):
        pytorch.install_torch(setup, args.cuda)
    with step('install build tools'):
        environment.install_build_tools(setup)
    mmcv.install_mmcv(setup)
    with step('install OpenMMLab packages'):
        setup.pip('install', '-r', setup.requirements(setup.runtime))
        pytorch.install_torchvision(setup)
    if args.tests:
        with step('install test tools'):
            setup.pip('install', '-r', setup.requirements('tests'))
            setup.pip('install', '--no-deps', '-r', setup.requirements('tests-no-deps'))
    with step('install mmspike and check the result'):
        environment.finish(setup, args.tests)


def set_up(args: argparse.Namespace, root: Path, lock_fd: int) -> None:
    """Bring the checkout's environment to what the options ask for."""
    start = time.monotonic()
    there = environment.read_marker(Setup(root)).get('family', 'onedl')
    setup = Setup(root, 7 if args.tests else 6, lock_fd, args.family or there)
    python, keep = environment.base_python(setup.venv), None
    if args.keep_torch:
        python, keep = pytorch.active_torch(setup.venv)
    other = setup.family != there or pytorch.other_torch_asked(setup, args.cuda, keep)
    if other and setup.venv.exists():
        shutil.rmtree(setup.venv)
    if environment.ready(setup, args.tests):
        seconds = time.monotonic() - start
        print(f'mmspike is set up already in {setup.venv} (checked in {seconds:.1f} s)')
        return
    args.tests = args.tests or bool(environment.read_marker(setup).get('tests'))
    setup.progress.total = 7 if args.tests else 6
    mmcv.check_compiler(setup)
    print(f'setting up mmspike in {setup.venv} (log: {setup.log})', flush=True)
    install_all(setup, args, python, keep)
    seconds = time.monotonic() - start
    print(f'mmspike is set up with torch {setup.torch_version()}, in {seconds:.0f} s')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tests', action='store_true', help='also install what the tests need')
    parser.add_argument(
        '--family',
        choices=commands.FAMILIES,
        help="the maintained OneDL packages, or OpenMMLab's own; by default those that are there, "
        'and OneDL the first time',
    )
    torch = parser.add_mutually_exclusive_group()
    torch.add_argument(
        '--keep-torch',
        action='store_true',
        help='use the torch of the active environment instead of installing one',
    )
    torch.add_argument('--cuda', action='store_true', help='accept a CUDA build of torch')
    return parser.parse_args(argv)


def stop(signum: int, frame: object) -> None:
    """End on SIGTERM the way Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> int:
    """Set up, and say what went wrong in one sentence if something does."""
    args = parse_args()
    signal.signal(signal.SIGTERM, stop)
    try:
        if not sys.platform.startswith(('linux', 'darwin')):
            raise SetupError('mmspike is set up on Linux or macOS; on Windows, use WSL.')
        with commands.locked(commands.cache_dir()) as lock_fd:
            set_up(args, Path(__file__).resolve().parents[1], lock_fd)
    except SetupError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except OSError as error:
        print(f'error: the set-up stopped at a file: {error}.', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nerror: stopped; the same command carries on from here.', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
