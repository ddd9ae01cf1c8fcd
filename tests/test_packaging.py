"""What pip and openmim get: a wheel and an sdist with configs, tools and model index."""

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.fileio import load

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / 'configs').glob('*.py'))
# Python that has no torch and no OpenMMLab package, as a machine on which pip builds.
BARE = (
    'import sys, runpy; '
    'sys.modules.update(dict.fromkeys(["torch", "mmcv", "mmengine", "mmdet"])); '
    'sys.argv[0] = "setup.py"; runpy.run_path("setup.py", run_name="__main__")'
)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """The files under version control, and new ones, as git gives them."""
    target = tmp_path_factory.mktemp('source')
    listed = subprocess.run(
        ['git', 'ls-files', '--cached', '--others', '--exclude-standard'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip('not a git checkout, which lists the files that are the project')
    for name in filter(lambda name: (ROOT / name).is_file(), listed.stdout.splitlines()):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes((ROOT / name).read_bytes())
    return target


def build(folder, *command):
    done = subprocess.run(
        [sys.executable, '-c', BARE, *command], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return next((folder / 'dist').iterdir())


@pytest.fixture(scope='module')
def sdist(source):
    return build(source, '-q', 'sdist')


@pytest.fixture(scope='module')
def wheel(sdist, tmp_path_factory):
    """Built from the sdist, so that this holds all that a wheel needs."""
    folder = tmp_path_factory.mktemp('sdist')
    shutil.unpack_archive(sdist, folder)
    return build(next(folder.iterdir()), '-q', 'bdist_wheel')


def shipped():
    """The files that ``mmspike/.mim`` holds."""
    files = [f for d in ('configs', 'tools') for f in (ROOT / d).rglob('*') if f.is_file()]
    kept = (f for f in files if '__pycache__' not in f.parts)
    return {str(f.relative_to(ROOT)) for f in [*kept, ROOT / 'model-index.yml']}


def test_a_wheel_holds_every_module_and_what_openmim_looks_for(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        str(f.relative_to(ROOT))
        for f in (ROOT / 'mmspike').rglob('*')
        if f.suffix in ('.py', '.cpp', '.h', '.jinja') and '.mim' not in f.parts
    }
    assert modules <= names
    prefix = 'mmspike/.mim/'
    assert {n.removeprefix(prefix) for n in names if n.startswith(prefix)} == shipped()
    assert not [n for n in names if n.startswith(('tests', 'setup')) or n.endswith('.pyc')]


def test_metadata_names_no_package_of_either_family_but_in_extras(wheel):
    archive = zipfile.ZipFile(wheel)
    name = next(n for n in archive.namelist() if n.endswith('METADATA'))
    required = re.findall(r'^Requires-Dist: (.+)$', archive.read(name).decode(), re.MULTILINE)
    always = [line for line in required if 'extra ==' not in line]
    assert 'pycocotools' in always
    assert not [line for line in always if re.match('(onedl|mm|torch)', line)]
    extras = {line.rpartition('== ')[2].strip('"\'') for line in required if 'extra' in line}
    assert extras == {
        'all', 'dev', 'export', 'mim', 'mmdet', 'mminstall', 'mmpretrain', 'mmseg', 'onedl',
        'tests',
    }  # fmt: skip
    for extra in ('mim', 'mmdet', 'mmseg', 'mmpretrain'):
        asked = [line for line in required if re.search(f'extra == .{extra}.$', line)]
        assert asked and not [line for line in asked if line.startswith('onedl')]
    entries = next(n for n in archive.namelist() if n.endswith('entry_points.txt'))
    assert 'mmspike = mmspike.commands.main:main' in archive.read(entries).decode().replace(
        '=mm', '= mm'
    )


def _listed_models():
    index = load(ROOT / 'model-index.yml')
    return [model for file in index['Import'] for model in load(ROOT / file).get('Models', [])]


def test_metafiles_list_every_config_once_and_give_no_weights():
    models = _listed_models()
    assert sorted(m['Config'] for m in models) == [f'configs/{f.name}' for f in CONFIGS]
    for model in models:
        assert model['Name'] == Path(model['Config']).stem
        assert 'Weights' not in model
        for result in model['Results']:
            assert all(re.search(r'\((paper|ours)\)$', name) for name in result['Metrics'])


@pytest.mark.skipif(
    find_spec('modelindex') is None,
    reason='modelindex, by which openmim reads metafiles, is not installed',
)
def test_metafiles_are_what_openmim_reads():
    from modelindex.load_model_index import load as load_index

    index = load_index(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert len(index.models) == len(CONFIGS)
    assert all(model.full_model.paper or 'resnet' in model.name for model in index.models)
