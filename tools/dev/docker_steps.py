#!/usr/bin/env python3
"""Run the steps of docker/Dockerfile without an engine, in a folder in place of the root.

    python3 tools/dev/docker_steps.py FOLDER                 # all but the apt packages: minutes
    python3 tools/dev/docker_steps.py FOLDER --flavor cuda --copy-only

What an image would hold under /mmspike lies in FOLDER/mmspike. Commands run in the shell of this
machine, with its Python and compiler in place of Ubuntu's; /tmp of theirs is FOLDER/tmp.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / 'docker' / 'Dockerfile'


class Step(NamedTuple):
    """An instruction such as ``COPY`` and what stands behind it, on one line."""

    name: str
    text: str


def read_steps(flavor: str, dockerfile: Path = DOCKERFILE) -> list[Step]:
    """The instructions that lead to the image of a flavor, ``FROM`` lines included.

    Raises:
        ValueError: No stage has that name.
    """
    text = re.sub(r'^\s*#.*\n', '', dockerfile.read_text(), flags=re.MULTILINE)
    lines = re.sub(r'\\\n\s*', '', text).splitlines()
    steps = [Step(*line.split(maxsplit=1)) for line in lines if line.strip()]
    stages: dict[str, list[Step]] = {}
    current: list[Step] = []
    for step in steps:
        if step.name == 'FROM':
            base, _, name = step.text.replace('${FLAVOR}', flavor).partition(' AS ')
            if step.text == '${FLAVOR}' and base not in stages:
                raise ValueError(f'there is no stage {flavor!r}; choose from {", ".join(stages)}')
            current = [*stages.get(base, [Step('FROM', base)])]
            stages[name] = current
        elif stages:
            current.append(step)
    return current


def tracked() -> list[str]:
    """The files of a clean checkout."""
    command = ['git', 'ls-files', '--cached', '--others', '--exclude-standard']
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def copy(text: str, folder: Path) -> None:
    """``COPY SOURCES TARGET`` from the checkout, of the files that git knows.

    Raises:
        FileNotFoundError: A source does not exist.
    """
    *sources, target = text.split()
    for source in sources:
        files = [n for n in tracked() if n == source or n.startswith(source + '/')]
        if not files:
            raise FileNotFoundError(f'COPY {source}: no such file in the checkout')
        for name in files:
            place = target + source if target.endswith('/') else target + name[len(source) :]
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / place)


def run_steps(steps: list[Step], root: Path, commands: bool = True) -> dict[str, str]:
    """Run the steps with a folder in place of ``/``; ``RUN`` of apt is left out.

    Args:
        steps: Those of :func:`read_steps`.
        root: An empty folder.
        commands: Whether to run ``RUN``, or to copy only.

    Returns:
        The environment variables that the image would have.
    """
    root = root.resolve()
    (root / 'tmp').mkdir(parents=True, exist_ok=True)
    place, env = root, {k: v for k, v in os.environ.items() if k != 'VIRTUAL_ENV'}

    def moved(text: str) -> str:
        return re.sub(r'(?<![\w./])/(?=tmp\b|mmspike\b)', f'{root}/', text)

    for name, text in steps:
        if name == 'ENV':
            for item in shlex.split(moved(text)):
                key, _, value = item.partition('=')
                env[key] = value.replace('${PATH}', env['PATH'])
        elif name == 'WORKDIR':
            place = Path(moved(text))
            place.mkdir(parents=True, exist_ok=True)
        elif name == 'COPY':
            copy(text, place)
        elif name == 'RUN' and commands and 'apt-get' not in text:
            print(f'RUN {text}', flush=True)
            subprocess.run(['sh', '-ec', moved(text)], cwd=place, env=env, check=True)
    return env


def main() -> int:
    """Run the steps, and in the end `mmspike doctor` as in the image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='an empty or new folder')
    parser.add_argument('--flavor', default='cpu')
    parser.add_argument('--copy-only', action='store_true', help='run no command')
    args = parser.parse_args()
    env = run_steps(read_steps(args.flavor), args.folder, not args.copy_only)
    if args.copy_only:
        return 0
    doctor = ['sh', '-c', 'mmspike doctor']
    return subprocess.run(doctor, cwd=args.folder / 'mmspike', env=env, check=False).returncode


if __name__ == '__main__':
    sys.exit(main())
