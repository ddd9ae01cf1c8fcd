"""One checkout: how its set-up runs commands, and how it says what they did."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# For each family of packages, the name of its mmcv and the file in requirements/ that pins it.
FAMILIES = {'onedl': ('onedl-mmcv', 'runtime'), 'openmmlab': ('mmcv', 'openmmlab')}
KEPT_TORCH = 'mmspike_kept_torch.pth'
NETWORK_ERRORS = re.compile(
    'NewConnectionError|ConnectTimeout|ConnectionError|ProxyError|name resolution|SSLError'
    '|Max retries exceeded|Network is unreachable|Connection refused|ReadTimeout|Read timed out'
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
