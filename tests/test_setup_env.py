"""Tests of tools/setup_env.py that need no network and install nothing."""

import argparse
import json
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / 'tools' / 'setup_env.py'


@pytest.fixture
def checkout(env_script, tmp_path):
    """A set-up of an empty checkout that has requirements and a bare environment folder."""
    root = tmp_path / 'checkout'
    site = root / '.venv' / 'lib' / 'python3.11' / 'site-packages'
    site.mkdir(parents=True)
    (root / 'requirements').mkdir()
    for file in (ROOT / 'requirements').glob('*.txt'):
        (root / 'requirements' / file.name).write_bytes(file.read_bytes())
    (root / 'setup.py').write_text('')
    return env_script.Setup(root)


def write_wheel(path: Path, member: str = 'mmcv/_ext.so', size: int = 4000) -> Path:
    """Write a zip file with one member, stored so that damage hits its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as wheel:
        wheel.writestr(member, b'x' * size)
    return path


def answer_pip(setup, monkeypatch, answer):
    """Replace pip by a function of its arguments, and record what it was asked."""
    asked = []

    def fake(*args, extra_env=None):
        asked.append(args)
        return answer(args)

    monkeypatch.setattr(setup, 'try_pip', fake)
    return asked


def wait_for(condition, seconds: float = 10):
    """Wait until a condition holds, and fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.05)


NO_MATCH = 'ERROR: No matching distribution found for torch==2.13.0+cpu\n'
CONFLICT = (
    'ERROR: Cannot install torch==2.13.0+cpu because these package versions have conflicting '
    'dependencies.\n'
)


class TestMmcvKey:
    @pytest.fixture
    def key(self, env_script, checkout, monkeypatch):
        (checkout.site / 'torch-2.13.0+cu130.dist-info').mkdir()
        monkeypatch.setattr(env_script.mmcv, 'has_nvcc', lambda: True)
        monkeypatch.delenv('TORCH_CUDA_ARCH_LIST', raising=False)

        def ask(printed):
            monkeypatch.setattr(checkout, 'run', lambda command, env=None: (0, printed))
            return env_script.mmcv.mmcv_key(checkout)

        return ask

    def test_a_cuda_build_with_a_gpu_or_a_list_of_capabilities(self, key, monkeypatch):
        assert key('a warning\nTrue True\n')[1]
        monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.0')
        assert key('True False\n')[1]

    def test_a_cuda_build_without_either_is_said(self, env_script, key):
        with pytest.raises(env_script.SetupError, match='no GPU is here .*TORCH_CUDA_ARCH_LIST'):
            key('True False\n')

    def test_a_cpu_build(self, key):
        assert not key('False False\n')[1]


class TestWheelCache:
    def test_key_tells_apart_what_the_binary_depends_on(self, env_script):
        first = ('cp311', '2.13.0+cpu', '2.3.6', 'gcc', 'cpu')
        others = [
            ('cp312', '2.13.0+cpu', '2.3.6', 'gcc', 'cpu'),
            ('cp311', '2.13.0+cu130', '2.3.6', 'gcc', 'cpu'),
            ('cp311', '2.13.0+cpu', '2.3.7', 'gcc', 'cpu'),
            ('cp311', '2.13.0+cpu', '2.3.6', 'clang', 'cpu'),
            ('cp311', '2.13.0+cpu', '2.3.6', 'gcc', 'cuda'),
        ]
        keys = {env_script.mmcv.wheel_key(*parts) for parts in [first, *others]}
        assert len(keys) == 6
        assert not any('/' in key or ' ' in key for key in keys)

    def test_whole_wheel_is_taken(self, env_script):
        wheel = write_wheel(env_script.commands.cache_dir() / 'wheels' / 'key' / 'a.whl')
        assert env_script.mmcv.cached_wheel('key') == wheel

    def test_no_wheel(self, env_script):
        assert env_script.mmcv.cached_wheel('key') is None

    def test_damaged_wheel_is_thrown_away(self, env_script):
        wheel = write_wheel(env_script.commands.cache_dir() / 'wheels' / 'key' / 'a.whl')
        data = bytearray(wheel.read_bytes())
        data[1000] ^= 255
        wheel.write_bytes(data)
        assert env_script.mmcv.cached_wheel('key') is None
        assert not wheel.exists()

    def test_cut_off_wheel_is_thrown_away(self, env_script):
        wheel = write_wheel(env_script.commands.cache_dir() / 'wheels' / 'key' / 'a.whl')
        wheel.write_bytes(wheel.read_bytes()[:2000])
        assert env_script.mmcv.cached_wheel('key') is None

    def test_wheel_without_operators_is_refused(self, env_script, tmp_path):
        wheel = write_wheel(tmp_path / 'a.whl', member='mmcv/ops.py')
        with pytest.raises(env_script.SetupError, match='without its compiled operators'):
            env_script.mmcv.keep_wheel(wheel, 'key')


class TestTorch:
    def test_cpu_is_asked_for_by_name(self, env_script):
        requests = env_script.pytorch.torch_requests('torch', '2.13.0', cpu=True)
        assert [request[0] for request in requests] == ['torch==2.13.0+cpu'] * 2
        assert '--extra-index-url' not in requests[0]
        assert env_script.pytorch.CPU_INDEX in requests[1]

    @pytest.mark.parametrize(
        ('cuda', 'system', 'expected'),
        [(False, 'Linux', True), (True, 'Linux', False), (False, 'Darwin', False)],
    )
    def test_when_cpu_is_asked_for(self, env_script, cuda, system, expected):
        assert env_script.pytorch.wants_cpu_build(cuda, system) is expected

    def test_cuda_is_never_fallen_back_to(self, env_script, checkout, monkeypatch):
        monkeypatch.setattr(env_script.pytorch.platform, 'system', lambda: 'Linux')
        asked = answer_pip(
            checkout,
            monkeypatch,
            # Like the default index: it has a CUDA build and no other.
            lambda args: (1, NO_MATCH) if '+cpu' in args[1] else (0, ''),
        )
        with pytest.raises(env_script.SetupError, match='--keep-torch.*--cuda'):
            env_script.pytorch.install_torch(checkout, cuda=False)
        assert len(asked) == 2
        assert all('+cpu' in args[1] for args in asked)

    @pytest.mark.parametrize('absent', [NO_MATCH, CONFLICT])
    def test_cpu_index_is_tried_second(self, env_script, checkout, monkeypatch, absent):
        monkeypatch.setattr(env_script.pytorch.platform, 'system', lambda: 'Linux')
        asked = answer_pip(
            checkout,
            monkeypatch,
            lambda args: (0, '') if env_script.pytorch.CPU_INDEX in args else (1, absent),
        )
        env_script.pytorch.install_torch(checkout, cuda=False)
        assert len(asked) == 2

    def test_no_network_is_said_without_a_second_try(self, env_script, checkout, monkeypatch):
        monkeypatch.setattr(env_script.pytorch.platform, 'system', lambda: 'Linux')
        broken = "after connection broken by 'ProxyError(...)'\n" + NO_MATCH
        asked = answer_pip(checkout, monkeypatch, lambda args: (1, broken))
        with pytest.raises(env_script.SetupError, match='could not reach its package index'):
            env_script.pytorch.install_torch(checkout, cuda=False)
        assert len(asked) == 1

    def test_installed_torch_stays(self, env_script, checkout, monkeypatch):
        (checkout.site / 'torch-2.13.0+cu130.dist-info').mkdir()
        asked = answer_pip(checkout, monkeypatch, lambda args: (0, ''))
        env_script.pytorch.install_torch(checkout, cuda=False)
        assert asked == []

    def test_pip_cannot_replace_torch(self, env_script, checkout, monkeypatch):
        (checkout.site / 'torch-2.13.0+cu130.dist-info').mkdir()
        monkeypatch.setattr(checkout, 'run', lambda command, env=None: (0, ' '.join(command)))
        _, command = checkout.try_pip('install', 'anything')
        pin = checkout.venv / 'torch-constraint.txt'
        assert f'-c {pin}' in command
        assert pin.read_text() == 'torch==2.13.0+cu130\n'

    def test_torch_from_outside_is_found(self, env_script, checkout, tmp_path):
        outside = tmp_path / 'outside'
        (outside / 'torch-2.6.0-py3.11.egg-info').mkdir(parents=True)
        (checkout.site / env_script.commands.KEPT_TORCH).write_text(f'{outside}\n')
        assert checkout.torch_version() == '2.6.0'
        assert not env_script.pytorch.other_torch_asked(checkout, False, str(outside))
        assert env_script.pytorch.other_torch_asked(checkout, False, str(tmp_path))
        assert env_script.pytorch.other_torch_asked(checkout, True, None)

    def test_each_family_has_its_own_mmcv_and_wheel(self, env_script):
        maintained = env_script.Setup(ROOT)
        original = env_script.Setup(ROOT, family='openmmlab')
        assert (maintained.mmcv_name, maintained.runtime) == ('onedl-mmcv', 'runtime')
        assert (original.mmcv_name, original.mmcv) == ('mmcv', '2.1.0')
        assert original.mmcv != maintained.mmcv

    def test_torchvision_follows_torch(self, env_script):
        assert env_script.pytorch.torchvision_version('2.13.0+cpu') == '0.28.0'
        assert env_script.pytorch.torchvision_version('2.6.1') == '0.21.1'
        with pytest.raises(env_script.SetupError, match='not supported'):
            env_script.pytorch.torchvision_version('1.13.1')


class TestErrors:
    def test_missing_compiler(self, env_script, monkeypatch, tmp_path):
        monkeypatch.delenv('CXX', raising=False)
        monkeypatch.setenv('PATH', str(tmp_path))
        with pytest.raises(env_script.SetupError, match='no C\\+\\+ compiler'):
            env_script.mmcv.check_compiler(env_script.Setup(ROOT))

    def test_cached_wheel_needs_no_compiler(self, env_script, monkeypatch, tmp_path):
        monkeypatch.delenv('CXX', raising=False)
        monkeypatch.setenv('PATH', str(tmp_path))
        mmcv = env_script.commands.pinned(ROOT, 'onedl-mmcv', 'runtime')
        write_wheel(env_script.commands.cache_dir() / 'wheels' / f'a-mmcv{mmcv}-gcc-cpu' / 'a.whl')
        env_script.mmcv.check_compiler(env_script.Setup(ROOT))

    @pytest.mark.parametrize(
        ('output', 'expected'),
        [
            ("connection broken by 'NewConnectionError(...)'\n" + NO_MATCH, 'could not reach'),
            (NO_MATCH, 'found no torch==2.13.0+cpu'),
            ('ERROR: [Errno 28] No space left on device\n', 'disk is full'),
            ('noise\n  error: something broke\n', 'error: something broke'),
            ('', 'no message'),
        ],
    )
    def test_pip_failures_are_one_sentence(self, env_script, output, expected):
        sentence = env_script.commands.explain(output, Path('setup.log'))
        assert expected in sentence
        assert sentence.endswith('(log: setup.log).')
        assert '\n' not in sentence

    def test_script_prints_a_sentence_and_no_traceback(self, tmp_path):
        blocked = tmp_path / 'file'
        blocked.write_text('')
        shown = subprocess.run(
            [sys.executable, SCRIPT],
            env={'XDG_CACHE_HOME': str(blocked), 'PATH': ''},
            capture_output=True,
            text=True,
        )
        assert shown.returncode == 1
        assert shown.stderr.startswith('error: the cache folder')
        assert len(shown.stderr.splitlines()) == 1

    def test_old_python_is_told_so(self):
        source = SCRIPT.read_text()
        code = f'import sys\nsys.version_info = (3, 8, 1)\nexec({source!r})'
        shown = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
        assert shown.returncode == 1
        assert 'needs Python 3.10 or newer and this is Python 3.8' in shown.stderr
        assert 'Traceback' not in shown.stderr

    def test_script_parses_under_old_python(self):
        import ast

        ast.parse(SCRIPT.read_text(), feature_version=(3, 7))

    def test_a_copy_runs_from_anywhere_with_nothing_installed(self, tmp_path):
        shutil.copytree(SCRIPT.parent, tmp_path / 'tools')
        shown = subprocess.run(
            [sys.executable, '-I', '-S', '-B', tmp_path / 'tools' / SCRIPT.name, '--help'],
            cwd='/',
            capture_output=True,
            text=True,
        )
        assert shown.returncode == 0, shown.stderr
        assert '--family' in shown.stdout


class TestCommands:
    def test_exit_code_and_output(self, checkout):
        assert checkout.run(['sh', '-c', 'echo out; echo err >&2; exit 3']) == (3, 'out\nerr\n')
        assert 'out\nerr\n' in checkout.log.read_text()

    def test_command_ends_with_a_killed_set_up(self, checkout, tmp_path):
        beats = tmp_path / 'beats'
        # A grandchild that holds on, as a compiler under pip does.
        loop = f'while :; do echo >> "{beats}"; sleep 0.05; done'
        command = ['sh', '-c', f"sh -c '{loop}'; true"]
        code = (
            f'import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import pathlib\n'
            'from _setup.commands import Setup\n'
            f'Setup(pathlib.Path({str(checkout.root)!r})).run({command!r})'
        )
        started = subprocess.Popen([sys.executable, '-B', '-c', code])
        wait_for(lambda: beats.is_file() and beats.stat().st_size > 3)
        started.kill()
        started.wait()

        def still() -> bool:
            before = beats.stat().st_size
            time.sleep(0.5)
            return beats.stat().st_size == before

        wait_for(still)


class TestHalfMade:
    def test_cut_off_packages_are_forgotten(self, env_script, checkout):
        whole = checkout.site / 'whole-1.0.dist-info'
        no_record = checkout.site / 'early-1.0.dist-info'
        not_rewritten = checkout.site / 'late-1.0.dist-info'
        for info in (whole, no_record, not_rewritten):
            info.mkdir()
        (whole / 'RECORD').write_text('whole-1.0.dist-info/INSTALLER,,\n')
        (not_rewritten / 'RECORD').write_text('late/__init__.py,,\n')
        dropped = env_script.environment.drop_half_installed(checkout.site)
        assert sorted(dropped) == ['early-1.0.dist-info', 'late-1.0.dist-info']
        assert whole.is_dir()
        assert not no_record.exists()

    def test_environment_without_python_is_not_healthy(self, env_script, checkout):
        assert not env_script.environment.healthy(checkout)

    def test_environment_that_stopped_early_is_not_ready(self, env_script, checkout):
        assert not env_script.environment.ready(checkout, tests=False)

    @pytest.mark.parametrize('change', ['nothing', 'requirements', 'tests', 'torch', 'import'])
    def test_ready_only_when_nothing_changed(self, env_script, checkout, monkeypatch, change):
        torch = checkout.site / 'torch-2.13.0+cpu.dist-info'
        torch.mkdir()
        marker = {'requirements': env_script.environment.digest(checkout.root), 'tests': False}
        marker['torch'] = '2.13.0+cpu'
        (checkout.venv / env_script.environment.MARKER).write_text(json.dumps(marker))
        code = 1 if change == 'import' else 0
        result = argparse.Namespace(returncode=code)
        monkeypatch.setattr(
            env_script.environment.subprocess, 'run', lambda *args, **kwargs: result
        )
        if change == 'requirements':
            (checkout.root / 'requirements' / 'build.txt').write_text('ninja==0\n')
        if change == 'torch':
            torch.rename(checkout.site / 'torch-2.14.0.dist-info')
        ready = env_script.environment.ready(checkout, tests=change == 'tests')
        assert ready is (change == 'nothing')

    def test_every_part_of_the_script_decides_what_gets_installed(self, checkout, tmp_path):
        tools = tmp_path / 'tools'
        shutil.copytree(SCRIPT.parent, tools, ignore=shutil.ignore_patterns('__pycache__'))
        code = (
            'import pathlib, sys; from _setup.environment import digest\n'
            'print(digest(pathlib.Path(sys.argv[1])))'
        )

        def digest() -> str:
            command = [sys.executable, '-B', '-c', code, checkout.root]
            return subprocess.run(
                command, cwd=tools, capture_output=True, text=True, check=True
            ).stdout

        parts = [tools / SCRIPT.name, *(tools / '_setup').glob('*.py')]
        assert len(parts) > 4
        seen = {digest()}
        for number, part in enumerate(parts):
            with part.open('a') as file:
                file.write('# changed\n')
            seen.add(digest())
            assert len(seen) == number + 2, part.name

    @pytest.mark.parametrize('there', [None, 'onedl', 'openmmlab'])
    def test_family_is_what_was_asked_for(self, env_script, checkout, monkeypatch, there):
        """An environment of the other family goes; none may be there yet."""
        if there is None:
            shutil.rmtree(checkout.venv)
        else:
            (checkout.venv / env_script.environment.MARKER).write_text(
                json.dumps({'family': there})
            )
        installed = []
        monkeypatch.setattr(env_script.environment, 'ready', lambda *args, **kwargs: False)
        monkeypatch.setattr(env_script.mmcv, 'check_compiler', lambda setup: None)
        monkeypatch.setattr(
            env_script, 'install_all', lambda setup, *rest: installed.append(setup.family)
        )
        env_script.set_up(env_script.parse_args(['--family', 'openmmlab']), checkout.root, 0)
        assert installed == ['openmmlab']
        assert checkout.venv.exists() == (there == 'openmmlab')

    def test_torn_marker_counts_as_none(self, env_script, checkout):
        (checkout.venv / env_script.environment.MARKER).write_text('{"requirements": ')
        assert env_script.environment.read_marker(checkout) == {}
