"""What all tests share."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from mmspike.process import spin_briefly

if 'PYTEST_XDIST_WORKER' in os.environ:
    # There is a worker for each core; processes that tests start take the same.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
spin_briefly()  # Before torch is imported.

import torch  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402

from mmspike.compat import make_torchvision_importable  # noqa: E402

SETUP = Path(__file__).resolve().parents[1] / 'tools' / 'setup_env.py'

make_torchvision_importable()  # Tests import mmdet and mmpretrain without the tools.


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_default_scope():
    """Let no test lean on the registries of the library that the one before it set."""
    DefaultScope._instance_dict.clear()


@pytest.fixture
def env_script(tmp_path, monkeypatch):
    """The set-up script as a module, with a cache folder of its own."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(sys, 'path', sys.path[:])
    spec = importlib.util.spec_from_file_location('setup_env', SETUP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
