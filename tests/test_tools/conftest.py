"""A tiny dataset and a tiny stock Mask R-CNN for the tools."""

import os
import shutil
import sys
from pathlib import Path

import cli
import pytest
from threads import one_thread

from mmspike.datasets import generate_shapes

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name('tiny_mask_rcnn.py')


@pytest.fixture(scope='session', autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    """Six training and five validation images of 64x64 pixels."""
    pytest.importorskip('mmdet', reason='the tools are tested with an mmdet model')
    root = tmp_path_factory.mktemp('data') / 'shapes'
    return generate_shapes(root, num_train=6, num_val=5, size=64)


@pytest.fixture
def own_shapes(shapes, tmp_path):
    """A copy of the dataset that a test may break."""
    return Path(shutil.copytree(shapes, tmp_path / 'shapes'))


@pytest.fixture(scope='session')
def trained(shapes, tmp_path_factory):
    """The checkpoint of one epoch, trained by the tool itself."""
    work_dir = tmp_path_factory.mktemp('trained')
    cli.train(arguments(shapes, work_dir, config=CONFIG))
    return work_dir / 'epoch_1.pth'


@pytest.fixture
def environment():
    """The environment of a subprocess that finds mmspike, installed or not."""
    paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
    # The shell scripts call python: it must be this one, also when no environment is active.
    programs = os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']])
    paths = os.pathsep.join(filter(None, paths))
    # A process that aborts says where it was.
    return {**os.environ, 'PATH': programs, 'PYTHONPATH': paths, 'PYTHONFAULTHANDLER': '1'}


def arguments(shapes, work_dir, *options, config=None, flags=()):
    """Write a command line for the tiny model."""
    start = [] if config is None else [str(config)]
    return [
        *start,
        '--work-dir',
        str(work_dir),
        *flags,
        '--cfg-options',
        f'data_root={shapes}',
        *options,
    ]
