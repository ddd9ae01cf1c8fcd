"""The pages of docs/ build without a warning, and the configs they show work."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmspike.engine import load_config

ROOT = Path(__file__).parents[1]
FIRST_HOUR = (ROOT / 'docs' / 'first_hour.md').read_text()


@pytest.mark.slow
def test_sphinx_builds_them_without_warnings(tmp_path):
    pytest.importorskip('myst_parser', reason='Sphinx and MyST come with setup_env.py --tests')
    build = [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', ROOT / 'docs', tmp_path]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'how_it_works.html').is_file()
    # No page lies outside the table of contents: Sphinx warns of that too.
    assert 'T through a detector' in (tmp_path / 'how_it_works.html').read_text()


@pytest.mark.parametrize(('number', 'count'), enumerate([2, 2]))
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
