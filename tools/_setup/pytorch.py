"""torch and torchvision: which builds to ask pip for, and in which order."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from _setup.commands import NETWORK_ERRORS, Setup, SetupError, explain, pinned

CPU_INDEX = 'https://download.pytorch.org/whl/cpu'
# Where pip has constraints of its own it says conflict.
ABSENT = re.compile(r'No matching distribution found for torch|Cannot install torch==')


def active_torch(venv: Path) -> tuple[str, str]:
    """The active environment's Python and the folder that its torch lies in."""
    homes = [os.environ.get('VIRTUAL_ENV'), os.environ.get('CONDA_PREFIX')]
    pythons = [str(Path(home) / 'bin' / 'python') for home in homes if home]
    python = [*pythons, sys.executable][0]
    code = (
        'import os, sys, torch; assert sys.version_info >= (3, 10)\n'
        'print(os.path.dirname(os.path.dirname(torch.__file__)))'
    )
    found = subprocess.run([python, '-c', code], capture_output=True, text=True, check=False)
    folder = found.stdout.strip()
    if found.returncode or Path(folder).is_relative_to(venv):
        raise SetupError(
            f'--keep-torch was given, but {python} is no Python 3.10 or newer with torch outside '
            'of .venv: activate the environment that has it.'
        )
    return python, folder


def torch_requests(name: str, version: str, cpu: bool) -> list[list[str]]:
    """What to ask pip for, one after the other, to get a torch package.

    Asking for the local version `+cpu` is what keeps CUDA out: pip cannot answer it with a CUDA
    build, while asking pip what it would install may already download gigabytes.
    """
    if not cpu:
        return [[f'{name}=={version}']]
    wanted = f'{name}=={version}+cpu'
    return [[wanted], [wanted, '--extra-index-url', CPU_INDEX, '--retries', '0']]


def wants_cpu_build(cuda: bool, system: str) -> bool:
    """Whether to ask for a CPU build by name; macOS has only one build, with no such name."""
    return not cuda and system != 'Darwin'


def install_torch(setup: Setup, cuda: bool) -> None:
    """Install the pinned torch, a CPU build unless CUDA was asked for."""
    version = pinned(setup.root, 'torch', 'torch')
    there = setup.torch_version()
    if setup.kept_torch() or (there and there.split('+')[0] == version):
        return
    if there:
        setup.pip('uninstall', '-y', 'torch')
    output = ''
    for request in torch_requests('torch', version, wants_cpu_build(cuda, platform.system())):
        code, output = setup.try_pip('install', *request)
        if code == 0:
            break
        offline = NETWORK_ERRORS.search(output) and CPU_INDEX not in request
        if offline or not ABSENT.search(output):
            raise SetupError(explain(output, setup.log))
    else:
        raise SetupError(
            f'no CPU build of torch {version} was found, neither in the index pip is set to nor '
            f'at {CPU_INDEX}: check the network, or give --keep-torch to use a torch you have, '
            f'or --cuda to accept a CUDA build (log: {setup.log}).'
        )
    if cuda and setup.torch_version().endswith('+cpu'):
        raise SetupError('--cuda was given, but the index pip is set to has a CPU build of torch.')


def torchvision_version(torch: str) -> str:
    """The torchvision release that belongs to a torch release (2.13.0 to 0.28.0)."""
    found = re.match(r'2\.(\d+)\.(\d+)', torch)
    if found is None:
        raise SetupError(f'torch {torch} is not supported: a torch 2 release is needed.')
    return f'0.{int(found[1]) + 15}.{found[2]}'


def install_torchvision(setup: Setup) -> None:
    """Install torchvision without its dependencies, of which it would bring a torch of its own."""
    if setup.run([str(setup.python), '-c', 'import torchvision'])[0] == 0:
        return
    torch = setup.torch_version()
    version = torchvision_version(torch)
    requests = torch_requests('torchvision', version, cpu=torch.endswith('+cpu'))
    # The default wheel comes last: beside a CPU torch only its Python part can be used, which
    # mmspike.compat sees to.
    for request in [*requests, [f'torchvision=={version}']]:
        code, output = setup.try_pip('install', '--no-deps', *request)
        if code == 0:
            return
    raise SetupError(explain(output, setup.log))


def other_torch_asked(setup: Setup, cuda: bool, keep: str | None) -> bool:
    """Whether the environment holds another torch than an option asks for."""
    if keep:
        return setup.venv.exists() and setup.kept_torch() != keep
    is_cpu = (setup.torch_version() or '').endswith('+cpu')
    return cuda and (setup.kept_torch() is not None or is_cpu)
