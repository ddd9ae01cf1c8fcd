"""The image, without an engine: what docker/Dockerfile copies is there and enough, and clean."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'tools' / 'dev'))
try:
    from docker_steps import DOCKERFILE, read_steps, run_steps, tracked
finally:
    sys.path.pop(0)

if not (ROOT / '.git').exists():
    pytest.skip(
        'not a git checkout, which lists the files that are the project', allow_module_level=True
    )

BASES = {
    'cpu': r'ubuntu:\d\d\.\d\d',
    'cuda': r'nvidia/cuda:\d+\.\d+\.\d+-devel-ubuntu\d\d\.\d\d',
}
# Writes down what it is called with, in place of minutes of set-up.
FAKE_PYTHON = '#!/bin/sh\nfor a in "$@"; do echo "$a"; done > "$CALLED"\nenv > "$CALLED.env"\n'


def test_bases_carry_a_version_and_the_cpu_is_the_default():
    for flavor, pattern in BASES.items():
        name, base = read_steps(flavor)[0]
        assert name == 'FROM'
        assert re.fullmatch(pattern, base), base
    assert 'ARG FLAVOR=cpu\n' in DOCKERFILE.read_text()
    with pytest.raises(ValueError, match='cpu, cuda'):
        read_steps('rocm')


def test_every_apt_package_carries_a_version():
    (apt,) = (text for name, text in read_steps('cpu') if name == 'RUN' and 'apt-get' in text)
    packages = re.search(r'--no-install-recommends (.+?) &&', apt)[1].split()
    assert len(packages) == 5
    assert all(re.fullmatch(r"'[\w+.-]+=[\w:.]+\*'", package) for package in packages), packages


@pytest.mark.parametrize(
    ('flavor', 'expected'),
    [('cpu', ['tools/setup_env.py']), ('cuda', ['tools/setup_env.py', '--cuda'])],
)
def test_steps_call_the_set_up_with_the_option_of_the_flavor(
    flavor, expected, tmp_path, monkeypatch
):
    fake = tmp_path / 'bin' / 'python3'
    fake.parent.mkdir()
    fake.write_text(FAKE_PYTHON)
    fake.chmod(0o755)
    monkeypatch.setenv('PATH', f'{fake.parent}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setenv('CALLED', str(tmp_path / 'called'))
    image = tmp_path / 'image'
    env = run_steps(read_steps(flavor), image)
    assert (tmp_path / 'called').read_text().splitlines() == expected
    seen = (tmp_path / 'called.env').read_text()
    assert 'PIP_NO_CACHE_DIR=1\n' in seen
    assert f'XDG_CACHE_HOME={image}/tmp/cache\n' in seen
    assert ('TORCH_CUDA_ARCH_LIST' in seen) == (flavor == 'cuda')
    assert env['PATH'].startswith(f'{image}/mmspike/.venv/bin{os.pathsep}')
    assert not (image / 'tmp' / 'cache').exists()


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    """The folder /mmspike of the image, before its commands ran."""
    folder = tmp_path_factory.mktemp('image')
    run_steps(read_steps('cpu'), folder, commands=False)
    return folder / 'mmspike'


def python(folder: Path, *args: str) -> str:
    env = {'PATH': os.environ['PATH'], 'PYTHONPATH': str(folder), 'HOME': os.environ['HOME']}
    done = subprocess.run(
        [sys.executable, '-B', *args], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_copied_runs_the_set_up_script(image):
    assert '--cuda' in python(image, 'tools/setup_env.py', '--help')
    code = (
        'import pathlib, sys; sys.path.insert(0, "tools"); import json\n'
        'from _setup.commands import Setup\nfrom _setup.environment import digest\n'
        'setup = Setup(pathlib.Path.cwd())\n'
        'print(json.dumps([setup.mmcv, digest(setup.root)]))'
    )
    assert json.loads(python(image, '-c', code)) == json.loads(python(ROOT, '-c', code))


@pytest.mark.slow
def test_what_is_copied_is_a_whole_mmspike(image):
    code = (
        'import mmspike, pathlib; from mmspike.engine import load_config\n'
        'assert pathlib.Path(mmspike.__file__).is_relative_to(pathlib.Path.cwd())\n'
        'print(load_config("configs/mask_rcnn_metaspike-tiny_t1_shapes.py").model.type)'
    )
    assert python(image, '-c', code).strip().endswith('SpikeMaskRCNN')


def test_a_wheel_of_what_is_copied_is_a_wheel_of_the_checkout(image, tmp_path):
    built = {}
    for name in ('image', 'checkout'):
        folder = tmp_path / name
        if name == 'image':
            shutil.copytree(image, folder)
        else:
            for file in tracked():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, folder / file)
        python(folder, 'setup.py', '-q', 'bdist_wheel')
        names = zipfile.ZipFile(next((folder / 'dist').iterdir())).namelist()
        built[name] = {n for n in names if not n.endswith('RECORD')}
    assert built['image'] == built['checkout']


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path, or a folder above it, out."""
    lines = (ROOT / '.dockerignore').read_text().splitlines()
    parts = path.split('/')
    heads = ['/'.join(parts[: n + 1]) for n in range(len(parts))]
    for pattern in (line for line in lines if line and not line.startswith('#')):
        deep = pattern.startswith('**/')
        for head in heads:
            name = head.rpartition('/')[2] if deep else head
            same_depth = deep or head.count('/') == pattern.count('/')
            if same_depth and fnmatch(name, pattern.removeprefix('**/')):
                return True
    return False


def test_dockerignore_hides_nothing_of_the_checkout_and_all_that_runs_leave():
    assert not [name for name in tracked() if ignored(name)]
    for left in (
        '.git/HEAD', '.venv/bin/python', 'work_dirs/a/b.pth', 'data/shapes/a.png', 'dist/a.whl',
        'mmspike/.mim/configs', 'mmspike/layers/__pycache__/a.pyc', 'mmspike.egg-info/PKG-INFO',
        'tools/_setup/__pycache__/a.pyc',
    ):  # fmt: skip
        assert ignored(left), left


# Beside the Python of an environment that is not active, too.
HADOLINT = shutil.which('hadolint') or shutil.which('hadolint', path=Path(sys.executable).parent)


@pytest.mark.skipif(HADOLINT is None, reason='hadolint comes with setup_env.py --tests on Linux')
def test_hadolint_is_clean():
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
