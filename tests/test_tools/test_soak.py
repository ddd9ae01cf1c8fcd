"""Memory stays where it is while pictures of all sizes go through one process."""

import subprocess
import sys

import pytest

from .conftest import ROOT

pytestmark = pytest.mark.slow


def test_memory_does_not_grow_with_the_pictures(environment):
    """tools/dev/soak.py runs 1,000; what it finds in fewer is coarser, and a picture kept shows."""
    pytest.importorskip('mmpretrain', reason='the smallest of the three models is a classifier')
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'dev' / 'soak.py'), 'mmpretrain', '--count', '240'],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'mmpretrain: 240 pictures' in done.stdout
