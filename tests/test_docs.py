"""The pages of docs/ build without a warning, and the configs they show work."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope

import mmspike
from mmspike.engine import load_config

ROOT = Path(__file__).parents[1]
FIRST_HOUR = (ROOT / 'docs' / 'first_hour.md').read_text()
API = (ROOT / 'docs' / 'api.md').read_text()


@pytest.mark.slow
def test_sphinx_builds_them_without_warnings(tmp_path):
    pytest.importorskip('myst_parser', reason='Sphinx and MyST come with setup_env.py --tests')
    build = [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', ROOT / 'docs', tmp_path]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'how_it_works.html').is_file()
    # No page lies outside the table of contents: Sphinx warns of that too.
    assert 'T through a detector' in (tmp_path / 'how_it_works.html').read_text()


@pytest.mark.parametrize(('number', 'count'), enumerate([2, 2, 2, 2]))
def test_the_configs_of_the_first_hour(number, count, tmp_path):
    """They are written beside ours, train on the named classes, and reach the data."""
    config = re.findall(r'```python\n(.*?)```', FIRST_HOUR, re.DOTALL)[number]
    folder = shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    (folder / 'mine.py').write_text(config)
    config = load_config(folder / 'mine.py', {'data_root': '/somewhere'})
    for split in ('train', 'val', 'test'):
        dataset = config[f'{split}_dataloader'].dataset
        assert dataset.data_root.rstrip('/') == '/somewhere'
        assert len(dataset.metainfo.classes) == count
    text = str(config.model.to_dict())
    assert set(re.findall(r"'num_classes': (\d+)", text)) == {str(count)}


def test_a_published_config_takes_label_maps_of_ones_own(tmp_path):
    pytest.importorskip('mmseg', reason='a config of mmseg')
    example = re.findall(r'```python\n(.*?)```', FIRST_HOUR, re.DOTALL)[3]
    path = tmp_path / 'mine.py'
    path.write_text(example.replace("['", f"['{ROOT / 'configs'}/", 1))
    config = load_config(path, {'data_root': str(tmp_path)})
    for split in ('train', 'val'):
        for kind in ('images', 'labels'):
            (tmp_path / kind / split).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / f'images/{split}/a.jpg'), np.zeros((40, 60, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f'labels/{split}/a.png'), np.ones((40, 60), np.uint8))
        with DefaultScope.overwrite_default_scope('mmseg'):
            dataset = DATASETS.build(config[f'{split}_dataloader'].dataset)
            assert dataset.metainfo['classes'] == ('road', 'other')
            truth = dataset[0]['data_samples'].gt_sem_seg.data
        assert truth.unique().tolist() == [1]


def test_the_page_of_names_imports_every_public_model():
    for library in ('mmdet', 'mmseg', 'mmpretrain'):
        pytest.importorskip(library, reason='models of all three are on the page')
    names = {}
    for block in re.findall(r'```python\n(.*?)```', API, re.DOTALL):
        exec(block, names)
    classes = {name for name in mmspike.models.__all__ if name[0].isupper()}
    assert classes and classes <= names.keys()
