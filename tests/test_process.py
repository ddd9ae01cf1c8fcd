"""Settings of the process for work on a CPU, each tried in a process of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmspike import process

ROOT = Path(__file__).parents[1]
OURS = ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY', 'OMP_NUM_THREADS')
FLUSH = """
import warnings
import numpy as np
import torch
from mmspike.process import use_cpu_well
warnings.simplefilter('error')
use_cpu_well()
tiny = torch.full((8,), 1e-38)
print((tiny * 1e-3).abs().max().item())
np.finfo(np.float32), np.finfo(np.float64)
"""
# What libgomp reads is what stands there when torch loads it: later is too late.
SHOW = """
import os, sys
from mmspike.commands import main as console
console.COMMANDS += ('show',)
module = sys.modules['mmspike.commands.show'] = type(sys)('show')
def show():
    print(os.environ.get('GOMP_SPINCOUNT'))
module.show = show
console.main(['show'])
"""


def run(code, **variables):
    """What a process of its own prints, in which the user has set nothing but `variables`."""
    env = {name: value for name, value in os.environ.items() if name not in OURS} | variables
    done = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_denormal_numbers_are_flushed_without_a_warning():
    assert float(run(FLUSH)) == 0.0


@pytest.mark.parametrize(
    'variables, expected',
    [
        ({}, str(process.SPIN_COUNT)),
        ({'GOMP_SPINCOUNT': '7'}, '7'),
        ({'OMP_WAIT_POLICY': 'ACTIVE'}, 'None'),
    ],
)
def test_commands_let_threads_spin_briefly_unless_told_otherwise(variables, expected):
    assert run(SHOW, **variables) == expected


def test_the_library_sets_nothing():
    code = 'import os; before = dict(os.environ); import mmspike.models, mmspike.commands.train\n'
    code += f'print([n for n in {OURS} if os.environ.get(n) != before.get(n)])'
    assert run(code) == '[]'


@pytest.mark.parametrize(
    'tool',
    [f.name for f in (ROOT / 'tools').glob('*.py') if 'mmspike.commands.main' in f.read_text()],
)
def test_no_tool_imports_torch_before(tool):
    """Importing a tool's file, as running it does first, leaves libgomp unread."""
    code = f'import runpy, sys; runpy.run_path({str(ROOT / "tools" / tool)!r}); '
    assert run(code + "print('torch' in sys.modules)") == 'False'


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize('others, threads', [(0.3, 2), (1.0, 1), (5.0, 1)])
def test_busy_cores_are_left_to_others(two_threads, monkeypatch, capsys, others, threads):
    monkeypatch.setattr(process, '_start', (0.0, 10.0))
    monkeypatch.setattr(process.time, 'monotonic', lambda: 4.0)
    monkeypatch.setattr(process, '_seconds_of_others', lambda: 10.0 + 4 * others)
    process.leave_busy_cores()
    assert torch.get_num_threads() == threads
    assert ('OMP_NUM_THREADS' in capsys.readouterr().out) == (threads == 1)


def test_a_number_of_threads_that_the_user_set_stays(monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '2')
    monkeypatch.setattr(process, '_start', None)
    process.spin_briefly()
    assert process._start is None


@pytest.mark.skipif(not Path('/proc/stat').is_file(), reason='Linux counts the time of cores')
def test_the_time_of_others_is_counted():
    code = 'import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True); input()'
    before, start = process._seconds_of_others(), time.monotonic()
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with subprocess.Popen([sys.executable, '-c', code], **pipes) as other:
        other.stdout.readline()
        seconds = process._seconds_of_others() - before
        other.stdin.close()
    assert 0.4 < seconds < len(os.sched_getaffinity(0)) * (time.monotonic() - start) + 0.1
