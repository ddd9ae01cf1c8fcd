"""The cells of the tutorial run in their order, in a fresh Python, as a user runs them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = json.loads((ROOT / 'docs' / 'tutorial.ipynb').read_text())
CODE = [''.join(c['source']) for c in NOTEBOOK['cells'] if c['cell_type'] == 'code']


def test_outputs_are_stripped_and_cells_are_plain_python():
    for cell in NOTEBOOK['cells']:
        if cell['cell_type'] == 'code':
            assert cell['outputs'] == []
            assert cell['execution_count'] is None
    for code in CODE:
        compile(code, 'cell', 'exec')  # No magics: they need IPython.


@pytest.mark.slow
def test_every_cell_runs(tmp_path):
    for library in ('mmdet', 'mmseg'):
        pytest.importorskip(library, reason='the tutorial shows both')
    marked = [f'{code}\nprint("after cell {number}")' for number, code in enumerate(CODE)]
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    script = tmp_path / 'docs' / 'tutorial.py'
    script.write_text('\n'.join(marked))
    environment = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])),
        'OMP_NUM_THREADS': '1',
        'MPLBACKEND': 'agg',
    }
    call = [sys.executable, str(script)]
    done = subprocess.run(
        call, capture_output=True, text=True, cwd=tmp_path / 'docs', env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'after cell {len(CODE) - 1}' in done.stdout
    out = tmp_path / 'work_dirs' / 'tutorial'
    for file in (
        'train/iter_20.pth',
        'found/predictions.json',
        'prediction.png',
        'energy/energy.md',
    ):
        assert (out / file).is_file(), file
    assert re.search(r'\d+ layers, \d+ silent', done.stdout)
