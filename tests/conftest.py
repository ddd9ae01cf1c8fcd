"""What all tests share."""

import os

import pytest
import torch

from mmspike.compat import make_torchvision_importable

make_torchvision_importable()  # Tests import mmdet and mmpretrain without the tools.
if 'PYTEST_XDIST_WORKER' in os.environ:
    torch.set_num_threads(1)  # There is a worker for each core.


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
