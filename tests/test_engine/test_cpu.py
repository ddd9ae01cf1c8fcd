"""Settings of the process for training on a CPU, tried in a process of their own."""

import subprocess
import sys

CODE = """
import warnings
import numpy as np
import torch
from mmspike.engine.cpu import use_cpu_well
warnings.simplefilter('error')
use_cpu_well()
tiny = torch.full((8,), 1e-38)
print((tiny * 1e-3).abs().max().item())
np.finfo(np.float32), np.finfo(np.float64)
"""


def test_denormal_numbers_are_flushed_without_a_warning():
    done = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == 0.0
