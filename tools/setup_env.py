#!/usr/bin/env python3
"""Set up mmspike: a virtual environment in the checkout, torch, compiled mmcv and the rest.

Running it again takes seconds when nothing changed, and carries on where a killed run stopped.
The file parses under every Python 3, so that an old one gets a sentence and no traceback.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036 - this is where an older Python is told so
    sys.exit(
        'error: mmspike needs Python 3.10 or newer and this is Python {}.{}; '
        'run the same command with a newer python3.'.format(*sys.version_info[:2])
    )

# For each family of packages, the name of its mmcv and the file in requirements/ that pins it.
FAMILIES = {'onedl': ('onedl-mmcv', 'runtime'), 'openmmlab': ('mmcv', 'openmmlab')}
CPU_INDEX = 'https://download.pytorch.org/whl/cpu'
KEPT_TORCH = 'mmspike_kept_torch.pth'
MARKER = 'mmspike-setup.json'
# The precompiled header is only used when these are exactly the flags it was made with.
HEADER_FLAGS = (
    '-O2 -g0 -w -DNDEBUG -fwrapv -fPIC -std=c++17 '
    '-DTORCH_API_INCLUDE_EXTENSION_H -DTORCH_EXTENSION_NAME=_ext'
)
NETWORK_ERRORS = re.compile(
    'NewConnectionError|ConnectTimeout|ConnectionError|ProxyError|name resolution|SSLError'
    '|Max retries exceeded|Network is unreachable|Connection refused|ReadTimeout|Read timed out'
)
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
# Runs a command and, as soon as its input ends because the set-up is gone, however it went, kills
# the command and all that this started: compilers would else go on and hold the lock.
GUARD = """
import os, signal, subprocess, sys, threading

def watch():
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=watch, daemon=True).start()
os._exit(subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL, close_fds=False) & 255)
"""


class SetupError(Exception):
    """Something the user has to know, said in one sentence."""


class Progress:
    """Print one numbered line per step, with the time it took."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.number = 0
        self.line = ''

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step, run it, and print how long it took."""
        self.number += 1
        self.line = f'[{self.number}/{self.total}] {title} ... '
        print(self.line, end='', flush=True)
        start = time.monotonic()
        try:
            yield
        except BaseException:
            print('failed', flush=True)
            raise
        print(f'{time.monotonic() - start:.0f} s', flush=True)

    def alive(self, output_line: str) -> None:
        """Show the counter of a compiler run on the step's line, in a terminal only."""
        found = re.match(r'\s*(\[\d+/\d+\])', output_line)
        if found and sys.stdout.isatty():
            print(f'\r{self.line}{found[1]} ', end='', flush=True)


class Setup:
    """The set-up of one checkout: where its files are and how its commands run."""

    def __init__(
        self,
        root: Path,
        total_steps: int = 0,
        lock_fd: int | None = None,
        family: str = 'onedl',
    ) -> None:
        self.root = root
        self.family = family
        self.mmcv_name, self.runtime = FAMILIES[family]
        self.mmcv = pinned(root, self.mmcv_name, self.runtime)
        self.venv = root / '.venv'
        self.python = self.venv / 'bin' / 'python'
        self.log = self.venv / 'setup.log'
        self.progress = Progress(total_steps)
        self.lock_fd = lock_fd

    @property
    def site(self) -> Path:
        """The environment's own site-packages folder."""
        return next(self.venv.glob('lib/python3.*/site-packages'), self.venv / 'missing')

    def requirements(self, name: str) -> str:
        """The path of a file in requirements/."""
        return str(self.root / 'requirements' / f'{name}.txt')

    def start(self, command: list[str], extra_env: dict[str, str] | None) -> subprocess.Popen:
        """Start a command with its output in a pipe, to end when this process does."""
        return subprocess.Popen(
            [sys.executable, '-c', GUARD, *command],
            cwd=self.venv,
            env=clean_env(self.venv) | (extra_env or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            start_new_session=True,
            # The next set-up waits until the last process of a killed one is gone.
            pass_fds=() if self.lock_fd is None else (self.lock_fd,),
        )

    def run(self, command: list[str], extra_env: dict[str, str] | None = None) -> tuple[int, str]:
        """Run a command into the log; return its exit code and its output."""
        lines = []
        with self.log.open('a', encoding='utf-8') as log, self.start(command, extra_env) as process:
            log.write(f'$ {" ".join(command)}\n')
            try:
                for line in process.stdout:
                    log.write(line)
                    lines.append(line)
                    self.progress.alive(line)
            except BaseException:
                process.stdin.close()
                raise
        return process.returncode, ''.join(lines)

    def try_pip(self, *args: str, extra_env: dict[str, str] | None = None) -> tuple[int, str]:
        """Run the environment's pip, unable to replace the torch that is there."""
        command = [str(self.python), '-m', 'pip', *args]
        if args[0] == 'install':
            command += ['-c', self.requirements('constraints')]
            torch = self.torch_version()
            if torch:
                pin = self.venv / 'torch-constraint.txt'
                pin.write_text(f'torch=={torch}\n')
                command += ['-c', str(pin)]
        return self.run(command, extra_env)

    def pip(self, *args: str, extra_env: dict[str, str] | None = None) -> None:
        """Run pip, and turn its failure into one sentence."""
        code, output = self.try_pip(*args, extra_env=extra_env)
        if code:
            raise SetupError(explain(output, self.log))

    def kept_torch(self) -> str | None:
        """The folder that a torch from outside is taken from, if one is."""
        path = self.site / KEPT_TORCH
        return path.read_text().strip() if path.is_file() else None

    def torch_version(self) -> str | None:
        """The installed torch's version, local part included, without importing it."""
        folders = [self.site, Path(self.kept_torch() or self.site)]
        for folder in folders:
            for info in folder.glob('torch-*-info'):
                return re.match(r'torch-(.+?)(-py[\d.]+)?\.(dist|egg)-info', info.name)[1]
        return None


def clean_env(venv: Path) -> dict[str, str]:
    """The user's environment without what would send pip or Python elsewhere."""
    dropped = ('PYTHONPATH', 'PYTHONHOME', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_USER', 'PIP_CONSTRAINT')
    env = {name: value for name, value in os.environ.items() if name not in dropped}
    env['PATH'] = f'{venv / "bin"}{os.pathsep}{env.get("PATH", os.defpath)}'
    env['VIRTUAL_ENV'] = str(venv)
    env['PIP_DISABLE_PIP_VERSION_CHECK'] = '1'
    env['PIP_NO_INPUT'] = '1'
    env.setdefault('PIP_RETRIES', '2')
    return env


def explain(output: str, log: Path) -> str:
    """Say in one sentence why a pip run failed."""
    if NETWORK_ERRORS.search(output):
        return f'pip could not reach its package index: check the network or proxy (log: {log}).'
    missing = re.search(r'No matching distribution found for (\S+)', output)
    if missing:
        return (
            f'pip found no {missing[1]} for this Python: check the network and '
            f'the package index it is set to (log: {log}).'
        )
    if 'No space left on device' in output:
        return f'the disk is full (log: {log}).'
    errors = re.findall(r'^\s*((?:ERROR|error): .+)$', output, re.MULTILINE)
    return f'pip failed with "{errors[0] if errors else "no message"}" (log: {log}).'


def cache_dir() -> Path:
    """The user's cache folder for mmspike."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mmspike'


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Let one set-up run at a time; a second one waits."""
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / 'setup.lock').open('w')
    except OSError as error:
        raise SetupError(
            f'the cache folder {folder} cannot be written ({error.strerror}): '
            'set XDG_CACHE_HOME to one that can.'
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print('waiting for another set-up to end ...', flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle.fileno()


def pinned(root: Path, name: str, file: str) -> str:
    """The version of a package that a requirements file pins."""
    text = (root / 'requirements' / f'{file}.txt').read_text()
    return re.search(rf'^{re.escape(name)}==(\S+)', text, re.MULTILINE)[1]


def digest(root: Path) -> str:
    """A hash of everything that decides what gets installed."""
    files = [*sorted((root / 'requirements').glob('*.txt')), root / 'setup.py', Path(__file__)]
    return hashlib.sha256(b'\0'.join(file.read_bytes() for file in files)).hexdigest()


def compiler() -> str | None:
    """The C++ compiler to use, if there is one."""
    names = [os.environ.get('CXX'), 'c++', 'g++', 'clang++']
    return next((name for name in names if name and shutil.which(name)), None)


def compiler_family(name: str | None) -> str:
    """Tell gcc from other compilers; without one, gcc is what a cached wheel was made with."""
    if name is None:
        return 'gcc'
    shown = subprocess.run([name, '--version'], capture_output=True, text=True, check=False)
    return 'gcc' if 'Free Software Foundation' in shown.stdout else 'clang'


def has_nvcc() -> bool:
    """Whether CUDA code can be compiled here."""
    home = os.environ.get('CUDA_HOME') or os.environ.get('CUDA_PATH') or '/usr/local/cuda'
    return shutil.which('nvcc') is not None or (Path(home) / 'bin' / 'nvcc').is_file()


def cpu_count() -> int:
    """The number of CPU cores this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wheel_key(python: str, torch: str, mmcv: str, family: str, ops: str) -> str:
    """The name under which a compiled mmcv wheel is kept."""
    machine = re.sub(r'\W', '_', sysconfig.get_platform())
    return f'{python}-{machine}-torch{torch}-mmcv{mmcv}-{family}-{ops}'


def good_wheel(path: Path) -> bool:
    """Whether a wheel can be read to its end and holds compiled operators."""
    try:
        with zipfile.ZipFile(path) as wheel:
            compiled = any(name.startswith('mmcv/_ext') for name in wheel.namelist())
            return compiled and wheel.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError):
        return False


def cached_wheel(key: str) -> Path | None:
    """The kept mmcv wheel for a key; a damaged one is thrown away."""
    for path in sorted((cache_dir() / 'wheels' / key).glob('*.whl')):
        if good_wheel(path):
            return path
        path.unlink()
    return None


def no_compiler() -> SetupError:
    """The error for a machine that has no C++ compiler."""
    return SetupError(
        'there is no C++ compiler on PATH and mmcv has to be compiled once: install one '
        '(on Debian or Ubuntu: apt-get install g++) and run the same command again.'
    )


def check_compiler(setup: Setup) -> None:
    """Stop before any download when mmcv can be neither compiled nor taken from the cache."""
    wheels = (cache_dir() / 'wheels').glob(f'*-mmcv{setup.mmcv}-*/*.whl')
    if compiler() is None and not list(wheels):
        raise no_compiler()


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
        if offline or 'No matching distribution found for torch' not in output:
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


def python_tag(setup: Setup) -> str:
    """The tag of the environment's Python in wheel names, such as cp311."""
    return 'cp' + setup.site.parent.name.removeprefix('python').replace('.', '')


def mmcv_key(setup: Setup) -> tuple[str, bool]:
    """The cache key of the mmcv wheel wanted here, and whether it has CUDA operators."""
    torch = setup.torch_version()
    code = 'import torch; print(torch.version.cuda is not None)'
    status, output = setup.run([str(setup.python), '-c', code])
    if status:
        raise SetupError(f'torch {torch} is installed but cannot be imported (log: {setup.log}).')
    cuda = output.strip().endswith('True')
    if cuda and not has_nvcc():
        raise SetupError(
            f'torch {torch} is a CUDA build, but nvcc, which compiles mmcv for it, was not found: '
            'install the CUDA toolkit or set CUDA_HOME, or use a CPU build of torch.'
        )
    ops = 'cuda' if cuda else 'cpu'
    return wheel_key(python_tag(setup), torch, setup.mmcv, compiler_family(compiler()), ops), cuda


def python_headers(setup: Setup) -> Path:
    """The folder of Python.h, which some distributions ship apart."""
    code = 'import sysconfig; print(sysconfig.get_paths()["include"])'
    folder = Path(setup.run([str(setup.python), '-c', code])[1].strip())
    if not (folder / 'Python.h').is_file():
        raise SetupError(
            f'{folder} has no Python.h, which compiling mmcv needs: install the headers '
            '(on Debian or Ubuntu: apt-get install python3-dev) and run the same command again.'
        )
    return folder


def precompile_header(setup: Setup, cxx: str, build: Path) -> dict[str, str]:
    """Compile torch's big header once, and return the flags that make the build use it."""
    torch = setup.site / 'torch'
    if not torch.is_dir():
        torch = Path(setup.kept_torch()) / 'torch'
    include = torch / 'include'
    header = build / 'pch.h'
    header.write_text('#include <torch/types.h>\n')
    command = [cxx, *HEADER_FLAGS.split(), f'-I{include}']
    command += [f'-I{include / "torch/csrc/api/include"}', f'-I{python_headers(setup)}']
    command += ['-x', 'c++-header', str(header), '-o', f'{header}.gch']
    if setup.run(command)[0]:
        raise SetupError(f'{cxx} could not compile the headers of torch (log: {setup.log}).')
    return {'CFLAGS': f'{HEADER_FLAGS} -include {header}'}


def build_mmcv(setup: Setup, key: str, cuda: bool) -> Path:
    """Compile mmcv into a wheel and move it into the cache as the last thing."""
    cxx = compiler()
    if cxx is None:
        raise no_compiler()
    python_headers(setup)
    build = cache_dir() / 'build'
    build.mkdir(parents=True, exist_ok=True)
    env = {
        'CXX': cxx,
        'FORCE_CUDA': '1' if cuda else '0',
        'MAX_JOBS': os.environ.get('MAX_JOBS', str(cpu_count())),
        'MMCV_WITH_OPS': '1',
        'TMPDIR': str(build),
        'CFLAGS': '-O2 -g0 -w',
    }
    if not cuda:
        # mmcv would go for CUDA operators on seeing a GPU, even with no compiler for them.
        env['CUDA_VISIBLE_DEVICES'] = ''
        if compiler_family(cxx) == 'gcc' and ' ' not in str(build):
            env |= precompile_header(setup, cxx, build)
    mmcv = f'{setup.mmcv_name}=={setup.mmcv}'
    # pip's own wheel cache does not tell torch versions apart.
    options = ['-v', '--no-cache-dir', '--no-deps', '--no-build-isolation', '-w', str(build)]
    setup.pip('wheel', *options, mmcv, extra_env=env)
    return keep_wheel(next(build.glob('*.whl')), key)


def keep_wheel(built: Path, key: str) -> Path:
    """Move a finished wheel into the cache and remove what the build left."""
    if not good_wheel(built):
        raise SetupError('mmcv was built without its compiled operators.')
    kept = cache_dir() / 'wheels' / key / built.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    os.replace(built, kept)
    shutil.rmtree(built.parent, ignore_errors=True)
    return kept


def install_mmcv(setup: Setup) -> None:
    """Install mmcv from the user's cache, compiling it the first time."""
    # A killed run leaves its build behind.
    shutil.rmtree(cache_dir() / 'build', ignore_errors=True)
    key, cuda = mmcv_key(setup)
    wheel = cached_wheel(key)
    title = 'install mmcv from the cache' if wheel else 'compile mmcv (about 3 minutes, once)'
    with setup.progress.step(title):
        wheel = wheel or build_mmcv(setup, key, cuda)
        setup.pip('install', '--no-deps', '--force-reinstall', str(wheel))


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


def other_torch_asked(setup: Setup, cuda: bool, keep: str | None) -> bool:
    """Whether the environment holds another torch than an option asks for."""
    if keep:
        return setup.venv.exists() and setup.kept_torch() != keep
    is_cpu = (setup.torch_version() or '').endswith('+cpu')
    return cuda and (setup.kept_torch() is not None or is_cpu)


def install_all(setup: Setup, args: argparse.Namespace, python: str, keep: str | None) -> None:
    """Run the steps in the order in which each finds what it needs."""
    step = setup.progress.step
    with step('make the virtual environment .venv'):
        make_venv(setup, python, keep)
    with step('install torch'):
        install_torch(setup, args.cuda)
    with step('install build tools'):
        install_build_tools(setup)
    install_mmcv(setup)
    with step('install OpenMMLab packages'):
        setup.pip('install', '-r', setup.requirements(setup.runtime))
        install_torchvision(setup)
    if args.tests:
        with step('install test tools'):
            setup.pip('install', '-r', setup.requirements('tests'))
            setup.pip('install', '--no-deps', '-r', setup.requirements('tests-no-deps'))
    with step('install mmspike and check the result'):
        finish(setup, args.tests)


def set_up(args: argparse.Namespace, root: Path, lock_fd: int) -> None:
    """Bring the checkout's environment to what the options ask for."""
    start = time.monotonic()
    there = read_marker(Setup(root)).get('family', 'onedl')
    setup = Setup(root, 7 if args.tests else 6, lock_fd, args.family or there)
    python, keep = active_torch(setup.venv) if args.keep_torch else (base_python(setup.venv), None)
    other = setup.family != there or other_torch_asked(setup, args.cuda, keep)
    if other and setup.venv.exists():
        shutil.rmtree(setup.venv)
    if ready(setup, args.tests):
        seconds = time.monotonic() - start
        print(f'mmspike is set up already in {setup.venv} (checked in {seconds:.1f} s)')
        return
    args.tests = args.tests or bool(read_marker(setup).get('tests'))
    setup.progress.total = 7 if args.tests else 6
    check_compiler(setup)
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
        choices=FAMILIES,
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
        with locked(cache_dir()) as lock_fd:
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
