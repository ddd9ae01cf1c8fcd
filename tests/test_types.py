"""Every function of mmspike has types, and they hold."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_mypy_finds_nothing(tmp_path):
    pytest.importorskip('mypy', reason='mypy comes with setup_env.py --tests')
    done = subprocess.run(
        [sys.executable, '-m', 'mypy', '--cache-dir', tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
