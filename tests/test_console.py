"""The command ``mmspike``: it finds the tools, and its doctor works where nothing else does."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mmspike import config
from mmspike.commands import doctor
from mmspike.commands import main as console
from mmspike.config import find_config
from mmspike.errors import UserError

ROOT = Path(__file__).parents[1]


def run(monkeypatch, *argv):
    """The exit code or message with which a command ends."""
    monkeypatch.setattr(sys, 'argv', ['mmspike', *argv])
    with pytest.raises(SystemExit) as stopped:
        console.main()
    return stopped.value.code


@pytest.mark.parametrize('name', console.COMMANDS)
def test_every_command_is_there(name):
    assert callable(getattr(import_module(f'mmspike.commands.{name}'), name))


@pytest.mark.parametrize('name', [name for name in console.COMMANDS if name != 'doctor'])
def test_help_says_how_it_was_called(monkeypatch, capsys, name):
    assert run(monkeypatch, name, '--help') == 0
    assert capsys.readouterr().out.startswith(f'usage: mmspike {name} ')


def test_overview_and_version(monkeypatch, capsys):
    console.main([])
    shown = capsys.readouterr().out
    assert all(f'\n  {name} ' in shown for name in console.COMMANDS)
    console.main(['--version'])
    assert capsys.readouterr().out == f'mmspike {console.__version__}\n'


@pytest.mark.parametrize('module', ['mmspike', 'mmspike.commands.main'])
def test_it_runs_as_a_module(module):
    done = subprocess.run(
        [sys.executable, '-m', module, '--version'], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f'mmspike {console.__version__}\n'), done.stderr


def test_an_unknown_command(monkeypatch):
    assert run(monkeypatch, 'trane') == (
        f"Error: there is no command 'trane'; name one of {', '.join(console.COMMANDS)}."
    )


def test_a_mistake_is_one_sentence(monkeypatch):
    sentence = run(monkeypatch, 'energy', 'nowhere.py')
    assert sentence == (
        "Error: Config 'nowhere.py' is not there; give the path of a config file, or the name of "
        'one that mmspike ships.'
    )


def test_a_missing_package_is_one_sentence(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'mmengine'", name='mmengine')

    monkeypatch.setattr(console, 'import_module', missing)
    assert "mmspike train needs the package 'mmengine'" in run(monkeypatch, 'train', 'a.py')


def test_a_config_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, 'SHIPPED', ROOT / 'configs')
    name = 'mask_rcnn_metaspike_coco.py'
    assert find_config(name) == ROOT / 'configs' / name
    Path(name).write_text('')
    assert find_config(name) == Path(name), 'one that lies here comes first'
    for wrong in ('nothing.py', '_base_/datasets/camvid.py', '../README.md', '.'):
        with pytest.raises(UserError, match='is not there'):
            find_config(wrong)


def test_a_config_that_is_not_there_may_be_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, 'SHIPPED', ROOT / 'configs')
    Path('own').mkdir()
    Path('own/mine_and_yours.py').write_text('')
    for wrong, sentence in {
        'own/mine_and_your.py': '(did you mean own/mine_and_yours.py?); give the path of',
        'own/mine_and_yours': "is not there, but 'own/mine_and_yours.py' is; add .py.",
        'retinanet_metaspike_coco.py': '(did you mean retinanet_metaspike_t1_coco.py',
        'retinanet_metaspike_t1_coco': "but 'retinanet_metaspike_t1_coco.py' is; add .py.",
        'configs/retinanet_metaspike_t1_coco': 'mean retinanet_metaspike_t1_coco.py',
    }.items():
        with pytest.raises(UserError) as caught:
            find_config(wrong)
        assert caught.value.sentence.startswith(f"Config '{wrong}' is not there")
        assert sentence in caught.value.sentence


@pytest.fixture
def packages(monkeypatch):
    """Pretend that other packages are installed than are."""
    there = dict.fromkeys(('mmengine', 'mmcv', 'mmdet', 'setuptools', *doctor.HELPERS), '9.0')
    monkeypatch.setattr(doctor, 'installed', there.get)
    monkeypatch.setattr(doctor, '_imports', lambda name: '')
    return there


def findings():
    return {finding.name: finding for finding in doctor.examine()}


def test_doctor_of_a_whole_setup(capsys, packages):
    assert doctor.doctor() == 0
    shown = capsys.readouterr().out
    assert "OpenMMLab's own packages" in shown
    assert shown.endswith('mmspike works here, with mmdet.\n')


def test_doctor_says_what_is_missing_and_how_to_get_it(packages):
    found = findings()
    assert found['mmseg'].state == found['mmpretrain'].state == 'missing'
    assert found['mmseg'].remedy == 'pip install mmsegmentation'
    del packages['mmengine'], packages['mmcv'], packages['mmdet'], packages['shapely']
    packages['onedl-mmengine'] = '1'
    found = findings()
    assert found['mmseg'].remedy == 'pip install onedl-mmsegmentation'
    assert found['helpers'].remedy == 'pip install shapely'
    assert doctor.doctor() == 1, 'there is no mmcv'


def test_doctor_sees_two_families(packages, capsys):
    packages['onedl-mmcv'] = '2'
    assert findings()['family'].state == 'broken'
    assert 'pip uninstall mmengine mmcv mmdet onedl-mmcv' in findings()['family'].remedy
    assert doctor.doctor() == 1


@pytest.mark.parametrize('name, code', [('mmcv.ops', 1), ('mmdet', 1), ('torch', 1), ('mmseg', 0)])
def test_doctor_sees_what_does_not_import(packages, monkeypatch, capsys, name, code):
    """A broken library is survived where another works."""
    packages['mmsegmentation'] = '1'
    monkeypatch.setattr(
        doctor, '_imports', lambda module: 'ImportError: undefined symbol' * (module == name)
    )
    assert findings()[name].state == 'broken'
    assert 'undefined symbol' in findings()[name].text
    if name == 'mmdet':
        del packages['mmsegmentation']
    assert doctor.doctor() == code


def test_doctor_knows_of_setuptools(packages):
    packages['setuptools'] = '83.0.1'
    assert findings()['setuptools'].state == 'broken'
    packages['setuptools'] = '81.0.0'
    assert findings()['setuptools'].state == 'ok'


def test_doctor_runs_where_there_is_nothing():
    """As on a machine with neither torch nor any OpenMMLab package."""
    code = (
        'import sys; sys.modules.update(dict.fromkeys(["torch", "mmengine", "mmcv", "rich"])); '
        'sys.argv = ["mmspike", "doctor"]; from mmspike.commands.main import main; main()'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and not done.stderr, done.stderr
    assert 'install torch' in done.stdout and 'mmspike cannot work here yet' in done.stdout
