"""The virtual environment: made, mended, finished, and known again."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from _setup.commands import KEPT_TORCH, Setup, SetupError, clean_env, pinned

MARKER = 'mmspike-setup.json'
QUICK_CHECK = (
    'import importlib.util as u, cv2, mmengine, torch, mmcv._ext\n'
    'assert u.find_spec("mmspike"), "mmspike is not installed"\n'
    'print(torch.__version__)'
)
FULL_CHECK = (
    'from mmspike.compat import make_torchvision_importable\n'
    'make_torchvision_importable()\n'
    'import torchvision, mmcv.ops, mmdet.models, mmseg.models, mmpretrain.models'
)


def digest(root: Path) -> str:
    """A hash of everything that decides what gets installed."""
    parts = Path(__file__).parent
    files = [*sorted((root / 'requirements').glob('*.txt')), root / 'setup.py']
    files += [parts.parent / 'setup_env.py', *sorted(parts.glob('*.py'))]
    return hashlib.sha256(b'\0'.join(file.read_bytes() for file in files)).hexdigest()


def base_python(venv: Path) -> str:
    """The Python to make the environment with, which must not be the environment's own."""
    return sys._base_executable if Path(sys.prefix) == venv else sys.executable


def healthy(setup: Setup) -> bool:
    """Whether the environment's Python runs, is new enough and has pip."""
    code = 'import sys, pip; sys.exit(sys.version_info < (3, 10))'
    try:
        shown = subprocess.run(
            [setup.python, '-c', code], capture_output=True, env=clean_env(setup.venv), check=False
        )
    except OSError:
        return False
    return shown.returncode == 0


def drop_half_installed(site: Path) -> list[str]:
    """Forget packages whose installation was cut off, so that pip installs them again."""
    dropped = []
    for info in site.glob('*.dist-info'):
        record = info / 'RECORD'
        # pip lists INSTALLER in RECORD last of all, after every file is in place.
        whole = record.is_file() and f'{info.name}/INSTALLER' in record.read_text(errors='replace')
        if not whole:
            shutil.rmtree(info)
            dropped.append(info.name)
    return dropped


def make_venv(setup: Setup, python: str, keep: str | None) -> None:
    """Make the environment, or mend one that an earlier run left half-made."""
    if not healthy(setup):
        shutil.rmtree(setup.venv, ignore_errors=True)
    setup.venv.mkdir(exist_ok=True)
    setup.log.write_text('')
    (setup.venv / MARKER).unlink(missing_ok=True)
    if not setup.python.exists():
        if setup.run([python, '-c', 'import ensurepip, venv'])[0]:
            raise SetupError(
                f'{python} cannot make virtual environments: install what it lacks (on Debian '
                'or Ubuntu: apt-get install python3-venv) and run the same command again.'
            )
        if setup.run([python, '-m', 'venv', str(setup.venv)])[0]:
            raise SetupError(f'the virtual environment could not be made (log: {setup.log}).')
    if keep:
        (setup.site / KEPT_TORCH).write_text(keep + '\n')
    drop_half_installed(setup.site)


def install_build_tools(setup: Setup) -> None:
    """Install what compiling needs, and first of the two OpenCV packages the one to overwrite."""
    setup.pip('install', '-r', setup.requirements('build'))
    # Both are asked for and own the same files; the headless one, which needs no display
    # libraries, has to be written last.
    opencv = pinned(setup.root, 'opencv-python', setup.runtime)
    setup.pip('install', '--no-deps', f'opencv-python=={opencv}')


def finish(setup: Setup, tests: bool) -> None:
    """Install mmspike itself, check that all can be imported, and write the marker."""
    setup.pip('install', '--no-deps', '--no-build-isolation', '-e', str(setup.root))
    for code in (FULL_CHECK, QUICK_CHECK):
        if setup.run([str(setup.python), '-c', code])[0]:
            raise SetupError(f'the installed packages cannot be imported (log: {setup.log}).')
    marker = {
        'requirements': digest(setup.root),
        'tests': tests,
        'torch': setup.torch_version(),
        'family': setup.family,
    }
    partial = setup.venv / (MARKER + '.part')
    partial.write_text(json.dumps(marker, indent=1) + '\n')
    os.replace(partial, setup.venv / MARKER)


def read_marker(setup: Setup) -> dict:
    """What the last finished set-up wrote down; nothing if none finished."""
    try:
        return json.loads((setup.venv / MARKER).read_text())
    except (OSError, ValueError):
        return {}


def ready(setup: Setup, tests: bool) -> bool:
    """Whether an earlier run finished with the same requirements and its result still works."""
    marker = read_marker(setup)
    if marker.get('requirements') != digest(setup.root) or marker.get('tests') < tests:
        return False
    if marker['torch'] != setup.torch_version():
        return False
    check = subprocess.run(
        [setup.python, '-c', QUICK_CHECK],
        capture_output=True,
        cwd=setup.venv,
        env=clean_env(setup.venv),
        check=False,
    )
    return check.returncode == 0
