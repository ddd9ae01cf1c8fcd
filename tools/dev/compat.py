#!/usr/bin/env python3
"""Run the tests in fresh environments: each family of packages, and with parts left out.

    python3 tools/dev/compat.py                        # every setting, an hour on 2 cores
    python3 tools/dev/compat.py openmmlab no-mmdet     # some
    python3 tools/dev/compat.py onedl --python python3.10 python3.13

Each setting is a fresh clone of the last commit with an environment of its own, made by
tools/setup_env.py. The result is a row of the table in docs/install.md for each; logs stay in the
folder.
"""

import argparse
import datetime
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTEST = ('-q', '-p', 'no:warnings', '-n', 'auto', '--maxprocesses', '4', '--dist', 'loadfile')
OLD_NUMPY = ('numpy==1.26.4', 'opencv-python==4.11.0.86', 'opencv-python-headless==4.11.0.86')


@dataclass(frozen=True)
class Setting:
    """What differs from the default.

    Args:
        title: Its row in the table.
        family: Of the packages.
        without: Packages to remove.
        pins: Packages to install in another version.
        env: Environment variables of the tests.
    """

    title: str
    family: str = 'onedl'
    without: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


SETTINGS = {
    'onedl': Setting('OneDL, numpy 2.2'),
    'openmmlab': Setting("OpenMMLab's own, numpy 2.2", 'openmmlab'),
    'openmmlab-numpy1': Setting("OpenMMLab's own, numpy 1.26", 'openmmlab', pins=OLD_NUMPY),
    'no-mmpretrain': Setting('OneDL without mmpretrain', without=('onedl-mmpretrain',)),
    'no-mmdet': Setting('OneDL without mmdet', without=('onedl-mmdetection',)),
    'no-mmseg': Setting('OneDL without mmseg', without=('onedl-mmsegmentation',)),
    # torch.compile takes the compiler from CXX.
    'no-compiler': Setting('OneDL without a C++ compiler', env={'CXX': '/nowhere/c++'}),
}


def run(command: list, log: Path, folder: Path, env: dict[str, str] | None = None) -> int:
    """Run a command with its output in a log, in no environment but its own."""
    outside = {k: v for k, v in os.environ.items() if k not in ('VIRTUAL_ENV', 'PYTHONPATH')}
    with log.open('a') as file:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            env=outside | (env or {}),
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.returncode


def try_setting(name: str, folder: Path, python: str, keep_torch: bool) -> str:
    """Set up, change what the setting changes, and run the tests.

    Args:
        name: Of the setting.
        folder: Where to clone to, and beside which to write the log.
        python: To make the environment with.
        keep_torch: Use the torch that this Python has.

    Returns:
        The last line of pytest, or the step that failed.
    """
    setting, log = SETTINGS[name], folder.parent / f'{folder.name}.log'
    shutil.rmtree(folder, ignore_errors=True)
    log.write_text('')
    venv_python = folder / '.venv' / 'bin' / 'python'
    pip = [venv_python, '-m', 'pip', '--disable-pip-version-check']
    setup = [python, 'tools/setup_env.py', '--tests', '--family', setting.family]
    if keep_torch:
        setup.append('--keep-torch')
    steps = [(['git', 'clone', '-q', ROOT, folder], folder.parent), (setup, folder)]
    if setting.without:
        steps.append(([*pip, 'uninstall', '-y', *setting.without], folder))
    if setting.pins:
        steps.append(([*pip, 'install', '--no-deps', *setting.pins], folder))
    for command, where in steps:
        if run(command, log, where):
            return f'failed: {" ".join(map(str, command[:3]))}'
    run([venv_python, '-m', 'pytest', 'tests', *PYTEST], log, folder, setting.env)
    return log.read_text().strip().splitlines()[-1]


def main() -> int:
    """Try the settings, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('settings', nargs='*', help=f'of {", ".join(SETTINGS)}; all by default')
    parser.add_argument('--python', nargs='+', default=[sys.executable], help='to make them with')
    parser.add_argument('--keep-torch', action='store_true', help='use the torch that --python has')
    parser.add_argument('--folder', type=Path, default=ROOT / 'work_dirs' / 'compat')
    args = parser.parse_args()
    if unknown := [name for name in args.settings if name not in SETTINGS]:
        parser.error(f'there is no setting {unknown[0]!r}; choose from {", ".join(SETTINGS)}')
    args.folder.mkdir(parents=True, exist_ok=True)
    ok = True
    print('| packages | Python | date | tests |\n| -- | -- | -- | -- |')
    for name, python in itertools.product(args.settings or SETTINGS, args.python):
        start = time.monotonic()
        version = subprocess.check_output([python, '-V'], text=True).split()[1]
        folder = args.folder.resolve() / f'{name}-{version}'
        last = try_setting(name, folder, python, args.keep_torch)
        counts = re.search(r'\d+ (?:passed|failed).*?(?= in )', last)
        ok = ok and counts is not None and 'failed' not in last and 'error' not in last
        today = datetime.date.today()
        row = f'| {SETTINGS[name].title} | {version} | {today} | {counts[0] if counts else last} |'
        print(row, flush=True)
        print(f'{name}: {time.monotonic() - start:.0f} s', file=sys.stderr)
    return 0 if ok else 1


if __name__ == '__main__':
    sys.exit(main())
