"""The demo takes a name, and both kinds end in figures, pictures and advice."""

import json
import re
import runpy

import cli
import pytest
from mmengine.config import Config
from narrow_models import narrow

from mmspike.commands import demo as demos
from mmspike.datasets import generate_shapes

from .conftest import ROOT


def test_unknown_name(tmp_path, monkeypatch):
    monkeypatch.setattr('sys.argv', ['demo.py', 'nothing', '--data-root', str(tmp_path / 'data')])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / 'tools' / 'demo.py'), run_name='__main__')
    assert stopped.value.code == (
        "Error: There is no demo 'nothing'; name one of instances, boxes, segmentation."
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'argv, name', [([], 'instances'), (['segmentation'], 'segmentation')], ids=['none', 'a name']
)
def test_without_a_name_it_shows_instances(monkeypatch, argv, name):
    configs = []

    def train(argv):
        configs.append(argv[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(demos, 'generate_shapes', lambda root: root)
    monkeypatch.setattr(demos, 'train', train)
    monkeypatch.setattr('sys.argv', ['demo.py', *argv])
    with pytest.raises(KeyboardInterrupt):
        runpy.run_path(str(ROOT / 'tools' / 'demo.py'), run_name='__main__')
    assert configs == [demos.DEMOS[name].config]


@pytest.mark.parametrize('name', demos.DEMOS)
def test_what_it_names_exists(name):
    demo = demos.DEMOS[name]
    assert (ROOT / 'configs' / demo.config).is_file()
    for file in re.findall(r'(?:tools|configs)/[\w./-]+\.(?:py|sh)', demo.next_steps):
        assert (ROOT / file).is_file(), file


@pytest.mark.parametrize(
    'name, host, lines',
    [
        ('instances', 'mmdet', [r'bbox  mAP 0\.\d{3}', r'segm  mAP']),
        ('boxes', 'mmdet', [r'bbox  mAP 0\.\d{3}   mAP@50 0\.\d{3}\n  pictures']),
        ('segmentation', 'mmseg', [r'mIoU \d+\.\d   aAcc', r'circle +\d+\.\d\n']),
    ],
)
def test_demo_with_a_narrow_model(shapes, tmp_path, monkeypatch, capsys, name, host, lines):
    """All but the model's widths, the length and the size of the data is the demo's."""
    pytest.importorskip(host, reason='the library of this demo')
    monkeypatch.setattr(demos, 'generate_shapes', lambda root: generate_shapes(root, 6, 5, 64))
    config = Config.fromfile(ROOT / 'configs' / demos.DEMOS[name].config)
    config.model = narrow(config)
    config.train_cfg['max_epochs' if config.train_cfg.get('max_epochs') else 'max_iters'] = 1
    config.train_dataloader.batch_size = 2
    for split in ('train', 'val', 'test'):
        config[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
    config.dump(tmp_path / 'narrow.py')
    monkeypatch.setattr(
        demos, 'train', lambda argv: cli.train([str(tmp_path / 'narrow.py'), *argv[1:]])
    )
    demos.demo([name, '--data-root', str(shapes), '--work-dir', str(tmp_path / 'work')])
    printed = capsys.readouterr().out
    for line in lines:
        assert re.search(line, printed), line
    assert (tmp_path / 'work' / 'pictures' / 'overview.png').is_file()
    page = tmp_path / 'work' / 'report.html'
    assert f'report: {page} (' in printed
    figures = json.loads(page.with_suffix('.json').read_text())
    assert figures['test']['classes'] and page.read_text().count('data:image/jpeg') > 4
    assert demos.DEMOS[name].next_steps in printed
